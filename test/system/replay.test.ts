import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { call, createEndpoint, deliveriesOf, eventually, publish } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { type Receiver, startReceiver, status } from "./receiver.ts";
import { offsetOf } from "./stream-calls.ts";

const MESSAGES = 1_000;

let receiver: Receiver;
let gateway: Gateway;

beforeAll(async () => {
  receiver = await startReceiver();
  gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
});

afterAll(async () => {
  await gateway.dispose();
  await receiver.close();
});

async function publishMany(topic: string, count: number): Promise<string[]> {
  const messages = Array.from({ length: count }, (_, index) => ({ topic, data: `message ${index}` }));
  const ids: string[] = [];
  for (let start = 0; start < count; start += 500) {
    const answer = await call(gateway, "POST", "/v1/batch", { body: { messages: messages.slice(start, start + 500) } });
    expect(answer.status).toBe(202);
    ids.push(...answer.json.results.map((result: { id: string }) => result.id));
  }
  return ids;
}

function arrivedAt(path: string): Set<string> {
  const ids = receiver.requests.filter((request) => request.path === path).map(({ headers }) => headers["webhook-id"] ?? "");
  return new Set(ids);
}

it("replays a topic to an endpoint that subscribed later, is killed with -9 on the way, and ends complete", async () => {
  const ids = await publishMany("past.orders", MESSAGES);
  const endpoint = await createEndpoint(gateway, { url: `${receiver.url}/late` });
  const replay = (body: object) => call(gateway, "POST", `/v1/endpoints/${endpoint.id}/replay`, { body: { topic: "past.orders", ...body } });
  expect((await replay({ dryRun: true })).json).toEqual({ count: MESSAGES, jobId: null });
  const begun = await replay({});
  expect(begun).toMatchObject({ status: 202, json: { count: MESSAGES } });
  const { jobId } = begun.json;

  for (const enough of [100, 350]) {
    await receiver.until(() => arrivedAt("/late").size >= enough);
    expect(arrivedAt("/late").size).toBeLessThan(MESSAGES);
    gateway = await gateway.restart();
  }
  await receiver.until(() => arrivedAt("/late").size === MESSAGES, 40_000);
  expect([...arrivedAt("/late")].sort()).toEqual([...ids].sort());

  const job = await eventually(async () => (await call(gateway, "GET", `/v1/jobs/${jobId}`)).json, ({ status }) => status === "done");
  expect(job).toMatchObject({ total: MESSAGES, done: MESSAGES, endpointId: endpoint.id, topic: "past.orders" });
  // History too ends with every delivery accounted for, those of before the kills included.
  for (const id of ids) {
    await eventually(() => deliveriesOf(gateway, id), ([delivery]) => delivery?.status === "delivered");
  }
});

it("lets live traffic of the same endpoint and topic pass while it runs", async () => {
  await publishMany("busy.orders", MESSAGES);
  const endpoint = await createEndpoint(gateway, { url: `${receiver.url}/busy`, topics: ["busy.orders"] });
  await call(gateway, "POST", `/v1/endpoints/${endpoint.id}/replay`, { body: { topic: "busy.orders" } });
  await receiver.until(() => arrivedAt("/busy").size >= 50);
  const live = await publish(gateway, "busy.orders", "live");
  await receiver.until(() => arrivedAt("/busy").has(live.id));
  expect(arrivedAt("/busy").size).toBeLessThan(MESSAGES);
  await receiver.until(() => arrivedAt("/busy").size === MESSAGES + 1, 40_000);
});

it("recovers as many dead deliveries as a dry run counts, and each arrives under its own id with a new time", async () => {
  const endpoint = await createEndpoint(gateway, { url: `${receiver.url}/recovered`, topics: ["failed.orders"], retrySchedule: [] });
  receiver.answerWith(status(500));
  const since = new Date().toISOString();
  const ids = await publishMany("failed.orders", 30);
  for (const id of ids) await eventually(() => deliveriesOf(gateway, id), ([delivery]) => delivery?.status === "dead");
  receiver.answerWith(status(204));
  expect((await call(gateway, "DELETE", `/v1/messages/${ids[0]}/content`)).status).toBe(204);
  const recover = (body: object) => call(gateway, "POST", `/v1/endpoints/${endpoint.id}/recover`, { body: { since, ...body } });
  const before = receiver.requests.length;
  expect((await recover({ dryRun: true })).json).toEqual({ count: 29, more: false });
  expect((await recover({ until: since, dryRun: true })).json.count).toBe(0);
  expect(receiver.requests.length).toBe(before);
  // two seconds, so that a second signed anew can not be the old one
  await delay(2_000);
  expect(await recover({})).toMatchObject({ status: 202, json: { count: 29, more: false } });
  await receiver.until((requests) => requests.length === before + 29);
  const again = receiver.requests.slice(before);
  expect(again.map(({ headers }) => headers["webhook-id"]).sort()).toEqual(ids.slice(1).sort());
  const newest = Math.max(...receiver.requests.slice(0, before).filter(({ path }) => path === "/recovered").map(({ headers }) => Number(headers["webhook-timestamp"])));
  expect(again.every(({ headers }) => Number(headers["webhook-timestamp"]) > newest)).toBe(true);
  for (const id of ids.slice(1)) await eventually(() => deliveriesOf(gateway, id), ([delivery]) => delivery?.status === "delivered");
  expect((await recover({ dryRun: true })).json.count).toBe(0);
});

it("trims a large topic in the background: nobody who publishes meanwhile waits for it", async () => {
  const body = "x".repeat(1_000_000);
  for (let index = 0; index < 48; index++) await publish(gateway, "large.log", body);
  const topic = async () => (await call(gateway, "GET", "/v1/topics/large.log")).json;
  expect((await topic()).bytes).toBeGreaterThan(48_000_000);
  expect((await call(gateway, "PUT", "/v1/topics/large.log", { body: { maxBytes: 2_000_000 } })).status).toBe(200);
  let slowestMs = 0;
  let published = 48;
  for (let trimmed = false; !trimmed; published++) {
    const startedAt = performance.now();
    await publish(gateway, "large.log", "small");
    slowestMs = Math.max(slowestMs, performance.now() - startedAt);
    trimmed = (await topic()).bytes < 2_000_000;
  }
  expect(slowestMs).toBeLessThan(1_000);
  expect((await topic()).nextOffset).toBe(published);
  const gone = await call(gateway, "GET", "/v1/stream/topics/large.log?offset=0");
  expect([gone.status, gone.headers.get("stream-earliest-offset")]).toEqual([410, offsetOf((await topic()).earliestOffset)]);
});

it("V10: a consumer that remembers its checkpoint on the server continues where it was, also after a kill", async () => {
  const ids = await publishMany("checked.orders", 120);
  const checkpoint = "/v1/consumers/billing/offsets/topics/checked.orders";
  const seen: string[] = [];
  /** One run of the consumer: reads from its checkpoint, works through a few messages, saves it after each. */
  const run = async (count: number): Promise<void> => {
    const saved = await call(gateway, "GET", checkpoint);
    const offset = saved.status === 404 ? "-1" : saved.json.offset;
    const read = await call(gateway, "GET", `/v1/stream/topics/checked.orders?offset=${offset}`);
    expect(read.status).toBe(200);
    for (const envelope of read.json.slice(0, count)) {
      seen.push(envelope.id);
      const expectedOffset = envelope.offset === 0 ? null : envelope.offset;
      const body = { offset: envelope.offset + 1, expectedOffset };
      expect((await call(gateway, "PUT", checkpoint, { body })).status).toBe(200);
    }
  };
  await run(50);
  gateway = await gateway.restart();
  await run(30);
  await run(1_000);
  expect(seen).toEqual(ids);
  // What it saved last is the end of the stream, in the protocol's own words.
  const head = await call(gateway, "HEAD", "/v1/stream/topics/checked.orders");
  expect((await call(gateway, "GET", checkpoint)).json.offset).toBe(head.headers.get("stream-next-offset"));
});

it("answers 410 with the earliest offset once a topic was trimmed, and reads on from there", async () => {
  await publishMany("short.lived", 5);
  expect((await call(gateway, "PUT", "/v1/topics/short.lived", { body: { retentionSeconds: 1 } })).status).toBe(200);
  await eventually(async () => (await call(gateway, "GET", "/v1/topics/short.lived")).json, ({ earliestOffset }) => earliestOffset === 5);
  const { offset } = await publish(gateway, "short.lived", "after");
  expect(offset).toBe(5);
  const gone = await call(gateway, "GET", "/v1/stream/topics/short.lived?offset=0");
  expect(gone.status).toBe(410);
  const earliest = gone.headers.get("stream-earliest-offset");
  const read = await call(gateway, "GET", `/v1/stream/topics/short.lived?offset=${earliest}`);
  expect(read.json.map((envelope: { offset: number }) => envelope.offset)).toEqual([5]);
});
