/** The consuming end, a process of its own: receives and acknowledges, from the gateway or from SQS itself. */
import { DeleteMessageBatchCommand, GetQueueUrlCommand, ReceiveMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { Agent, request } from "node:http";
import { nowMs } from "./clock.ts";
import type { PullFrom, PullJob, Pulled, PullerAnswer } from "./puller.ts";

type Message = { readonly id: string; readonly receipt: string };

/** Both calls of a consumer. `acknowledge` tells how many it was done for. */
type Source = {
  readonly receive: () => Promise<readonly Message[]>;
  readonly acknowledge: (receipts: readonly string[]) => Promise<number>;
  readonly close: () => void;
};

const MAX_PER_CALL = 10;
const VISIBILITY_SECONDS = 60;
const DEADLINE_MS = 60_000;
const REGION = "us-east-1";
/** The emulator takes any; the SDK wants some. */
const CREDENTIALS = { accessKeyId: "local", secretAccessKey: "local" };

async function run({ from, consumers, messages }: PullJob): Promise<Pulled> {
  const source = await open(from, consumers);
  const seen = new Set<string>();
  let acknowledged = 0;
  let duplicates = 0;
  let refused = 0;
  let refusal: string | null = null;
  const startedAtMs = nowMs();
  const consume = async (): Promise<void> => {
    while (acknowledged < messages && nowMs() - startedAtMs < DEADLINE_MS) {
      try {
        const received = await source.receive();
        for (const { id } of received) {
          if (seen.has(id)) duplicates += 1;
          seen.add(id);
        }
        if (received.length === 0) continue;
        // Not `+=` with an await in it, which adds to what was there before the call.
        const count = await source.acknowledge(received.map(({ receipt }) => receipt));
        acknowledged += count;
      } catch (error) {
        refused += 1;
        refusal = String(error);
      }
    }
  };
  await Promise.all(Array.from({ length: consumers }, consume));
  const seconds = (nowMs() - startedAtMs) / 1000;
  source.close();
  return { acknowledged, duplicates, refused, refusal, seconds };
}

function open(from: PullFrom, consumers: number): Promise<Source> {
  return from.kind === "sqs" ? openSqs(from) : Promise.resolve(openGateway(from, consumers));
}

async function openSqs({ endpoint, queueName }: Extract<PullFrom, { kind: "sqs" }>): Promise<Source> {
  const client = new SQSClient({ endpoint, region: REGION, credentials: CREDENTIALS, useQueueUrlAsEndpoint: false });
  const { QueueUrl } = await client.send(new GetQueueUrlCommand({ QueueName: queueName }));
  return {
    receive: async () => {
      const { Messages = [] } = await client.send(
        new ReceiveMessageCommand({
          QueueUrl,
          MaxNumberOfMessages: MAX_PER_CALL,
          VisibilityTimeout: VISIBILITY_SECONDS,
          MessageSystemAttributeNames: ["ApproximateReceiveCount"],
        }),
      );
      return Messages.map(({ MessageId = "", ReceiptHandle = "" }) => ({ id: MessageId, receipt: ReceiptHandle }));
    },
    acknowledge: async (receipts) => {
      const Entries = receipts.map((ReceiptHandle, index) => ({ Id: String(index), ReceiptHandle }));
      const { Successful = [] } = await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
      return Successful.length;
    },
    close: () => client.destroy(),
  };
}

type PulledBody = { readonly messages: readonly Message[] };
type AckedBody = { readonly results: readonly { readonly ok: boolean }[] };

/** With `node:http` and connections that are kept, as the SDK's client has it. */
function openGateway({ url, headers }: Extract<PullFrom, { kind: "gateway" }>, consumers: number): Source {
  const agent = new Agent({ keepAlive: true, maxSockets: consumers });
  const call = (method: string, path: string, body?: string): Promise<unknown> =>
    new Promise((resolve, reject) => {
      const sent = request(url + path, { method, agent, headers: { ...headers, "content-type": "application/json" } }, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.on("error", reject);
        response.on("end", () => {
          const text = Buffer.concat(chunks).toString();
          if (response.statusCode === 200) resolve(JSON.parse(text));
          else reject(new Error(`${method} ${path} was answered ${response.statusCode}: ${text.slice(0, 300)}`));
        });
      });
      sent.on("error", reject);
      sent.end(body);
    });
  return {
    // The answers are those of the gateway under test: their shape is taken on trust.
    receive: async () => ((await call("GET", `/messages?max=${MAX_PER_CALL}&visibility=${VISIBILITY_SECONDS}`)) as PulledBody).messages,
    acknowledge: async (receipts) => {
      const { results } = (await call("POST", "/ack", JSON.stringify({ receipts }))) as AckedBody;
      return results.filter(({ ok }) => ok).length;
    },
    close: () => agent.destroy(),
  };
}

function answer(message: PullerAnswer): void {
  process.send?.(message);
}

process.on("message", (job: PullJob) => {
  run(job).then(
    (pulled) => answer({ kind: "done", pulled }),
    (error: unknown) => {
      console.error(error);
      process.exit(1);
    },
  );
});
process.on("disconnect", () => process.exit(0));
answer({ kind: "ready" });
