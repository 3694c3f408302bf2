import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Api, gatewayApi, jsonObject, textField } from "../../../src/local/api.ts";
import { signal } from "../../../src/local/processes.ts";
import { startGateway } from "../../system/gateway.ts";
import { type Bench, BODY_BYTES, newTag } from "../fixture.ts";
import { type PullFrom, type Pulled, type Puller, startPuller } from "../load/puller.ts";
import { type Sqs, startSqs } from "../load/sqs.ts";
import { stampedBody } from "../load/stamp.ts";
import { atExit } from "../processes.ts";
import { spreadOf } from "../statistics.ts";
import type { Comparison, Counts, Row, RowReport } from "./row.ts";

const CONSUMERS = 8;
/** About as many as are pulled in a second, so that a run lasts as long as those of other rows. */
const MESSAGES_PER_SECOND = 4_000;
/** Enough to have the code compiled, on either side. */
const WARM_UP_MESSAGES = 5_000;
const BATCH_MESSAGES = 500;
const FILL_DEADLINE_MS = 60_000;
const POLL_MS = 100;
/** History is about a second behind, and is counted once a second. */
const HISTORY_MS = 2_500;
/** Queues of their own, so that what one reads the other does not. */
const QUEUE = "bench-pull";
const DIRECT_QUEUE = "bench-pull-direct";
const NAME_AT_SQS = `postern-default-${DIRECT_QUEUE}`;

/** The emulator takes any. */
const CREDENTIALS = { AWS_ACCESS_KEY_ID: "local", AWS_SECRET_ACCESS_KEY: "local" };

type MailboxKind = "sqs" | "durable-object";
/** A gateway with that mailbox. */
type Gateway = {
  readonly api: Api;
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
};
type Runs = { readonly name: string; readonly runs: Pulled[] };

/**
 * Receiving ten and acknowledging them, again and again, through the gateway and straight from SQS with the AWS SDK:
 * the same envelopes in the same emulator. All messages are there before the clock starts.
 */
export const pull: Row = {
  name: "pull",
  async measure(bench): Promise<RowReport> {
    const puller = await startPuller();
    const emulator = await startSqs();
    try {
      const sqs = await withGateway("sqs", emulator, (gateway) => takeTurns(bench, puller, gateway, emulator));
      const objects = await withGateway("durable-object", emulator, (gateway) => repeat(bench, () => drain(puller, gateway, fromGateway(gateway), QUEUE, messagesOf(bench))));
      const direct: Runs = { name: "SQS itself", runs: sqs.direct };
      const through: Runs = { name: "gateway on SQS", runs: sqs.through };
      const inObjects: Runs = { name: "gateway on Durable Objects", runs: objects };
      return {
        name: "pull",
        title: `receive and ack, 10 a call, ${CONSUMERS} consumers, ${messagesOf(bench)} messages of 1 KiB a run, next to the same calls to the SQS emulator`,
        comparisons: [
          { ...compared(direct, through), figure: "pullRatio", target: { atLeast: 0.6 } },
          compared(direct, inObjects),
        ],
        counts: { relay: countsOf(bench, direct), gateway: countsOf(bench, through, inObjects) },
        notes: [direct, through, inObjects].flatMap(({ name, runs }) => runs.flatMap(({ refusal }) => (refusal === null ? [] : [`${name} refused: ${refusal}`]))),
      };
    } finally {
      await Promise.all([puller.stop(), emulator.stop()]);
    }
  },
};

async function takeTurns(bench: Bench, puller: Puller, gateway: Gateway, emulator: Sqs): Promise<{ direct: Pulled[]; through: Pulled[] }> {
  const direct: Pulled[] = [];
  const straight: PullFrom = { kind: "sqs", endpoint: emulator.url, queueName: NAME_AT_SQS };
  const through = await repeat(bench, async () => {
    direct.push(await drain(puller, gateway, straight, DIRECT_QUEUE, messagesOf(bench)));
    return drain(puller, gateway, fromGateway(gateway), QUEUE, messagesOf(bench));
  });
  return { direct, through };
}

async function repeat(bench: Bench, run: () => Promise<Pulled>): Promise<Pulled[]> {
  const runs: Pulled[] = [];
  while (runs.length < bench.runs) runs.push(await run());
  return runs;
}

/** A short run that is thrown away, then the run that counts. */
async function drain(puller: Puller, gateway: Gateway, from: PullFrom, queue: string, messages: number): Promise<Pulled> {
  const run = async (count: number): Promise<Pulled> => {
    await fill(gateway, queue, count);
    return puller.run({ from, consumers: CONSUMERS, messages: count });
  };
  await run(WARM_UP_MESSAGES);
  return run(messages);
}

/** Publishes through the gateway, whoever is to read it: what is in SQS is the same either way. */
async function fill({ api }: Gateway, queue: string, count: number): Promise<void> {
  const tag = newTag();
  for (let first = 0; first < count; first += BATCH_MESSAGES) {
    const messages = Array.from({ length: Math.min(BATCH_MESSAGES, count - first) }, (_, index) => ({
      command: `${queue}/run`,
      data: JSON.parse(stampedBody(tag, first + index, BODY_BYTES).toString("latin1")),
    }));
    await api("POST", "/v1/batch", { messages });
  }
  await sleep(HISTORY_MS);
  for (let waitedMs = 0; ; waitedMs += POLL_MS) {
    const open = await openDeliveries(api);
    if (open === 0) break;
    if (waitedMs > FILL_DEADLINE_MS) throw new Error(`${open} messages are still on their way into ${queue}`);
    await sleep(POLL_MS);
  }
  const { depth } = await api("GET", `/v1/queues/${queue}`);
  if (typeof depth !== "number" || depth < count) throw new Error(`the queue ${queue} holds ${String(depth)} messages instead of ${count}`);
}

/** Deliveries of the tenant that are not in a mailbox yet, as far as history knows. */
async function openDeliveries(api: Api): Promise<number> {
  const { deliveries } = await api("GET", "/v1/stats");
  const { open } = jsonObject(deliveries);
  if (typeof open !== "number") throw new Error("the stats have no open deliveries");
  return open;
}

function fromGateway({ url, headers }: Gateway): PullFrom {
  return { kind: "gateway", url: `${url}/v1/queues/${QUEUE}`, headers };
}

async function withGateway<Result>(mailbox: MailboxKind, emulator: Sqs, use: (gateway: Gateway) => Promise<Result>): Promise<Result> {
  const dataDir = mkdtempSync(join(tmpdir(), "postern-bench-pull-"));
  const forgetDirectory = atExit(() => rmSync(dataDir, { recursive: true, force: true }));
  const running = await startGateway({ dataDir, env: { POSTERN_MAILBOX: mailbox, POSTERN_SQS_ENDPOINT: emulator.url, ...CREDENTIALS } });
  const forget = atExit(() => signal(-running.pids().node, "SIGKILL"));
  try {
    const api = gatewayApi(running.url, running.token, new AbortController().signal);
    const token = textField(await api("POST", "/v1/tokens", { name: "bench", scopes: ["consume"] }), "token");
    for (const queue of [QUEUE, DIRECT_QUEUE]) await api("PUT", `/v1/queues/${queue}`, {});
    return await use({ api, url: running.url, headers: { authorization: `Bearer ${token}` } });
  } finally {
    forget();
    await running.dispose();
    forgetDirectory();
  }
}

function messagesOf({ seconds }: Bench): number {
  return Math.ceil(seconds * MESSAGES_PER_SECOND);
}

function compared(baseline: Runs, subject: Runs): Comparison {
  const perSecond = ({ runs }: Runs): number[] => runs.map(({ acknowledged, seconds }) => acknowledged / seconds);
  const [of, to] = [perSecond(baseline), perSecond(subject)];
  return {
    label: `received and acknowledged, ${subject.name}`,
    unit: "messages/s",
    baselineName: baseline.name,
    subjectName: subject.name,
    baseline: spreadOf(of),
    subject: spreadOf(to),
    ratio: spreadOf(to.map((value, run) => value / (of[run] ?? Number.NaN))),
  };
}

function countsOf(bench: Bench, ...sides: readonly Runs[]): Counts {
  const runs = sides.flatMap((side) => side.runs);
  const sum = (of: (run: Pulled) => number): number => runs.reduce((total, run) => total + of(run), 0);
  return {
    lost: sum(({ acknowledged }) => Math.max(0, messagesOf(bench) - acknowledged)),
    duplicates: sum(({ duplicates }) => duplicates),
    refused: sum(({ refused }) => refused),
    unanswered: 0,
  };
}
