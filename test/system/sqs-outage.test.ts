import { GetQueueAttributesCommand, ListQueuesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { buildApp } from "fauxqs";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Answered, call, createEndpoint, eventually } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type SeverableProxy, startSeverableProxy } from "./severable-proxy.ts";

/** A third of a minute, to keep the suite short; `POSTERN_TEST_OUTAGE_SECONDS=60` makes it the full minute. */
const OUTAGE_SECONDS = Number(process.env["POSTERN_TEST_OUTAGE_SECONDS"] ?? 20);
const TRAFFIC_BEFORE_SECONDS = 3;
const TRAFFIC_AFTER_SECONDS = 3;
const PUBLISH_EVERY_MS = 25;
/** What was refused is sent again at the latest some 12 s later, and a publisher is not kept waiting meanwhile. */
const CATCH_UP_MS = 60_000;

const REGION = "us-east-1";
const KEYS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY" };

/** Amazon SQS: it keeps running, and what leads to it is cut. An emulator that stopped would lose what it holds. */
const emulator = buildApp({ logger: false, host: "127.0.0.1" });
let proxy: SeverableProxy;
let gateway: Gateway;
let aws: SQSClient;

beforeAll(async () => {
  const address = new URL(await emulator.listen({ host: "127.0.0.1", port: 0 }));
  aws = new SQSClient({ endpoint: address.href, region: REGION, credentials: KEYS, useQueueUrlAsEndpoint: false });
  proxy = await startSeverableProxy(Number(address.port));
  gateway = await startGateway({
    env: {
      POSTERN_MAILBOX: "sqs",
      POSTERN_SQS_ENDPOINT: proxy.url,
      AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
      AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
      AWS_REGION: REGION,
    },
  });
});

afterAll(async () => {
  await gateway?.dispose();
  aws?.destroy();
  await proxy?.close();
  await emulator.close();
});

/** Pulls and acknowledges until told to stop, whatever it is answered; remembers what it was told is done. */
function consume(path: string) {
  const acked = new Map<string, number>();
  const refusals = new Map<number, string>();
  let stopped = false;
  const note = ({ status, json }: Answered): boolean => {
    if (status !== 200) refusals.set(status, json?.detail);
    return status === 200;
  };
  const run = async (): Promise<void> => {
    while (!stopped) {
      const pulled = await call(gateway, "GET", `${path}/messages?max=10&wait=1&visibility=5`);
      if (!note(pulled)) await delay(200);
      const messages: any[] = pulled.json?.messages ?? [];
      if (messages.length === 0) continue;
      const settled = await call(gateway, "POST", `${path}/ack`, { body: { receipts: messages.map(({ receipt }) => receipt) } });
      if (!note(settled)) continue;
      settled.json.results.forEach(({ ok }: any, index: number) => {
        if (ok === true) acked.set(messages[index].id, (acked.get(messages[index].id) ?? 0) + 1);
      });
    }
  };
  const running = Promise.all([run(), run()]);
  return {
    acked,
    refusals,
    stop: async () => {
      stopped = true;
      await running;
    },
  };
}

/** Publishes by a clock until told to stop; the ids of what was accepted, and every answer that was no 202. */
function publishSteadily(paths: readonly string[]) {
  const accepted = new Map<string, string[]>(paths.map((path) => [path, []]));
  const refused: number[] = [];
  let slowestMs = 0;
  const sent: Promise<void>[] = [];
  let count = 0;
  const publishOne = async (path: string): Promise<void> => {
    const startedAt = Date.now();
    const answer = await call(gateway, "POST", path, { raw: `message ${count++}`, headers: { "content-type": "text/plain" } });
    slowestMs = Math.max(slowestMs, Date.now() - startedAt);
    if (answer.status === 202) accepted.get(path)?.push(answer.json.id);
    else refused.push(answer.status);
  };
  const timer = setInterval(() => {
    sent.push(publishOne(paths[sent.length % paths.length]!));
  }, PUBLISH_EVERY_MS);
  return {
    accepted,
    refused,
    slowestMs: () => slowestMs,
    stop: async () => {
      clearInterval(timer);
      await Promise.all(sent);
    },
  };
}

/** Messages in all queues of SQS, dead letters too, as SQS itself says. */
async function inSqs(): Promise<number> {
  const { QueueUrls = [] } = await aws.send(new ListQueuesCommand({ QueueNamePrefix: "postern-" }));
  const counts = await Promise.all(
    QueueUrls.map(async (QueueUrl) => {
      const AttributeNames = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"] as const;
      const { Attributes } = await aws.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: [...AttributeNames] }));
      return AttributeNames.reduce((sum, name) => sum + Number(Attributes?.[name] ?? 0), 0);
    }),
  );
  return counts.reduce((sum, count) => sum + count, 0);
}

it(`loses nothing and keeps nothing back when SQS is away for ${OUTAGE_SECONDS} s in the middle of traffic`, async () => {
  const endpoint = await createEndpoint(gateway, { kind: "pull", topics: ["outage"] });
  expect((await call(gateway, "PUT", "/v1/queues/outage", { body: { maxReceives: 1000 } })).status).toBe(201);
  const sources = new Map([
    ["/v1/events/outage", consume(`/v1/endpoints/${endpoint.id}`)],
    ["/v1/commands/outage/run", consume("/v1/queues/outage")],
  ]);
  const publisher = publishSteadily([...sources.keys()]);

  await delay(TRAFFIC_BEFORE_SECONDS * 1000);
  expect([...sources.values()].every(({ acked }) => acked.size > 0)).toBe(true);
  await proxy.cut("refusing");
  await delay(OUTAGE_SECONDS * 500);
  expect((await call(gateway, "GET", "/readyz")).status).toBe(503);
  await proxy.cut("silent");
  await delay(OUTAGE_SECONDS * 500);
  const acceptedInTheDark = [...publisher.accepted.values()].map((ids) => ids.length);
  await proxy.mend();
  await delay(TRAFFIC_AFTER_SECONDS * 1000);
  await publisher.stop();

  expect(publisher.refused).toEqual([]);
  expect(Math.min(...acceptedInTheDark)).toBeGreaterThan((OUTAGE_SECONDS * 1000) / PUBLISH_EVERY_MS / 4);
  // No publisher waited for SQS, whose silence lasts 5 s.
  expect(publisher.slowestMs()).toBeLessThan(3_000);
  expect(proxy.suffered()).toBeGreaterThan(0);
  for (const [path, { acked, refusals }] of sources) {
    const ids = publisher.accepted.get(path) ?? [];
    const missing = () => ids.filter((id) => !acked.has(id)).length;
    await eventually(async () => missing(), (count) => count === 0, CATCH_UP_MS);
    expect([...acked.keys()].filter((id) => !ids.includes(id))).toEqual([]);
    // The consumers were told as well, and in words that say what is wrong.
    expect([...refusals.keys()]).toEqual([503]);
    expect(refusals.get(503)).toContain("SQS");
  }

  // What was sent twice because an answer was lost is taken out as well; then nothing is left, in SQS or on its way.
  await eventually(inSqs, (count) => count === 0, CATCH_UP_MS);
  const { json: queue } = await call(gateway, "GET", "/v1/queues/outage");
  expect(queue).toMatchObject({ depth: 0, inFlight: 0, dead: 0 });
  expect((await call(gateway, "GET", "/readyz")).status).toBe(200);
  for (const { stop } of sources.values()) await stop();
  const openOrDead = await eventually(
    async () => (await call(gateway, "GET", "/metrics")).bytes.toString().match(/^postern_deliveries\{.*$/gm) ?? [],
    (lines) => lines.every((line) => line.endsWith(" 0")),
  );
  expect(openOrDead.length).toBeGreaterThan(0);
}, 60_000 + OUTAGE_SECONDS * 1000 + 2 * CATCH_UP_MS);
