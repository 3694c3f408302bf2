import { applyD1Migrations, type D1Migration, evictDurableObject, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { archiveBucketOf } from "../../src/streams/archive-bucket.ts";
import type { StreamApi } from "../../src/streams/contract.ts";
import { streamStub } from "../../src/streams/stub.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const bucket = archiveBucketOf(env)!;

type Answer = { readonly status: number; readonly headers: Headers; readonly json: any; readonly text: string };

const WAIT = { timeout: 15_000, interval: 50 };
const TWO_DAYS_MS = 2 * 24 * 60 * 60 * 1000;
const COUNT = 40;

let arrived: { id: string; body: string }[] = [];
let answerStatus = 204;

async function call(method: string, path: string, body?: unknown): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  const isJson = /json/.test(response.headers.get("content-type") ?? "") && text !== "";
  return { status: response.status, headers: response.headers, text, json: isJson ? JSON.parse(text) : undefined };
}

const stubOf = (topic: string) => env.STREAMS.getByName(`default/topics/${topic}`);
const bodyOf = (index: number) => JSON.stringify({ n: index, pad: "é".repeat(index * 20) });

/** Publishes messages, a segment each; their ids. */
async function publish(topic: string, count = COUNT): Promise<string[]> {
  const ids: string[] = [];
  for (let index = 0; index < count; index++) {
    const { status, json } = await call("POST", `/v1/events/${topic}`, { n: index, pad: "é".repeat(index * 20) });
    expect(status).toBe(202);
    ids.push(json.id);
  }
  return ids;
}

function rowsOf(topic: string): Promise<{ moved: number; all: number; garbage: number }> {
  return runInDurableObject(stubOf(topic), (_object, { storage: { sql } }) => ({
    moved: sql.exec<{ n: number }>("SELECT count(*) AS n FROM segments WHERE messages GLOB '@*' AND length(bodies) = 0").one().n,
    all: sql.exec<{ n: number }>("SELECT count(*) AS n FROM segments").one().n,
    garbage: sql.exec<{ n: number }>("SELECT count(*) AS n FROM archives WHERE state <> 'stored'").one().n,
  }));
}

/** As if the messages there are had been published two days ago. */
async function age(topic: string): Promise<void> {
  await runInDurableObject(stubOf(topic), (_object, { storage: { sql } }) => void sql.exec("UPDATE segments SET time = time - ?", TWO_DAYS_MS));
}

/** Runs the alarm until something holds; now and then started anew, for an object that was too early tries again in a minute only. */
async function runUntil(topic: string, holds: () => Promise<boolean>): Promise<void> {
  let rounds = 0;
  await vi.waitUntil(async () => {
    if (rounds++ % 8 === 0) await evictDurableObject(stubOf(topic));
    await runDurableObjectAlarm(stubOf(topic));
    return holds();
  }, WAIT);
}

/** Whether history has all messages, and the object will know that when it is started anew. */
function isTold(topic: string): Promise<boolean> {
  return runInDurableObject(stubOf(topic), (_object, { storage: { sql } }) =>
    sql.exec<{ told: number }>("SELECT history_before = next_offset AS told FROM checkpoint").toArray().some(({ told }) => told === 1),
  );
}

/** Has all segments but the newest moved to the bucket. */
async function archive(topic: string): Promise<void> {
  await vi.waitUntil(() => isTold(topic), WAIT);
  await age(topic);
  await runUntil(topic, async () => {
    const { moved, all } = await rowsOf(topic);
    return moved === all - 1;
  });
}

async function keysOf(topic: string): Promise<string[]> {
  return (await bucket.list({ prefix: `default/topics/${topic}/` })).objects.map(({ key }) => key);
}

async function envelopes(topic: string, query = ""): Promise<any[]> {
  const read = await call("GET", `/v1/stream/topics/${topic}${query}`);
  expect([read.status, read.text.slice(0, 300)]).toEqual([200, expect.anything()]);
  return read.json;
}

async function untilArrived(count: number): Promise<void> {
  await vi.waitUntil(() => new Set(arrived.map(({ id }) => id)).size >= count, WAIT);
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async (_input, init) => {
    const { body, headers } = new Request("https://receiver.test", { method: "POST", body: init?.body ?? null, headers: new Headers(init?.headers) });
    arrived.push({ id: headers.get("webhook-id") ?? "", body: await new Response(body).text() });
    return new Response(null, { status: answerStatus });
  });
});

beforeEach(() => {
  arrived = [];
  answerStatus = 204;
});

describe("a log whose old segments are in a bucket", { timeout: 30_000 }, () => {
  it("reads as before: from the beginning, the middle, a time, live, and message by message, after a restart too", async () => {
    const ids = await publish("archived.read");
    const before = await envelopes("archived.read");
    await archive("archived.read");
    expect(await keysOf("archived.read")).toHaveLength(1);
    const shifted = before.map((envelope) => ({ ...envelope, time: new Date(Date.parse(envelope.time) - TWO_DAYS_MS).toISOString() }));
    expect(await envelopes("archived.read")).toEqual(shifted);
    await evictDurableObject(stubOf("archived.read"));
    for (const from of [0, 17, 38, 39]) expect(await envelopes("archived.read", `?offset=${from}`)).toEqual(shifted.slice(from));
    expect(await envelopes("archived.read", `?since=${shifted[12].time}`)).toEqual(shifted.slice(shifted.findIndex(({ time }) => time === shifted[12].time)));
    expect((await call("GET", "/v1/stream/topics/archived.read?offset=3&live=long-poll")).json).toEqual(shifted.slice(3));
    for (const index of [0, 20, 39]) {
      await vi.waitUntil(async () => (await call("GET", `/v1/messages/${ids[index]}`)).status === 200, WAIT);
      const content = await call("GET", `/v1/messages/${ids[index]}/content`);
      expect([content.status, content.text]).toEqual([200, bodyOf(index)]);
    }
    const described = (await call("GET", "/v1/topics/archived.read")).json;
    expect(described).toMatchObject({ earliestOffset: 0, nextOffset: COUNT, earliestTime: shifted[0].time });
    expect((await call("POST", "/v1/events/archived.read", "more")).json.offset).toBe(COUNT);
  });

  it("is replayed, and what is sent again is sent as it was", async () => {
    const ids = await publish("archived.replayed");
    await archive("archived.replayed");
    const endpoint = (await call("POST", "/v1/endpoints", { kind: "push", url: "https://example.com/replayed" })).json.id;
    const replay = (dryRun: boolean) => call("POST", `/v1/endpoints/${endpoint}/replay`, { topic: "archived.replayed", fromOffset: 5, dryRun });
    expect((await replay(true)).json.count).toBe(35);
    const { json } = await replay(false);
    await untilArrived(35);
    expect(arrived.map(({ id, body }) => [id, body]).sort()).toEqual(ids.slice(5).map((id, index) => [id, bodyOf(index + 5)]).sort());
    await vi.waitUntil(async () => (await call("GET", `/v1/jobs/${json.jobId}`)).json.status === "done", WAIT);
    arrived = [];
    expect((await call("POST", `/v1/messages/${ids[2]}/resend`, { endpointId: endpoint })).json).toEqual({ count: 1 });
    await untilArrived(1);
    expect(arrived).toEqual([{ id: ids[2], body: bodyOf(2) }]);
  });

  it("keeps what is not delivered yet, and dead deliveries of moved messages come back to life", async () => {
    const endpoint = (await call("POST", "/v1/endpoints", { kind: "push", url: "https://example.com/dead", topics: ["archived.dead"], retrySchedule: [] })).json.id;
    answerStatus = 500;
    const ids = await publish("archived.dead", 5);
    await vi.waitUntil(async () => (await call("GET", `/v1/dead?endpointId=${endpoint}`)).json.data.length === 5, WAIT);
    await archive("archived.dead");
    answerStatus = 204;
    arrived = [];
    const recover = (dryRun: boolean) => call("POST", `/v1/endpoints/${endpoint}/recover`, { since: "2020-01-01T00:00:00Z", dryRun });
    expect((await recover(true)).json.count).toBe(5);
    expect((await recover(false)).json.count).toBe(5);
    await untilArrived(5);
    expect(arrived.map(({ id }) => id).sort()).toEqual([...ids].sort());

    expect((await call("POST", `/v1/endpoints/${endpoint}/pause`)).status).toBe(200);
    const [held] = await publish("archived.dead", 1);
    await publish("archived.dead", 3);
    await vi.waitUntil(async () => (await call("GET", `/v1/messages/${held}/deliveries`)).json.data?.[0]?.reason === "paused", WAIT);
    await age("archived.dead");
    await runUntil("archived.dead", async () => (await rowsOf("archived.dead")).moved === 5);
    for (let round = 0; round < 2; round++) await runUntil("archived.dead", async () => true);
    expect(await rowsOf("archived.dead")).toMatchObject({ all: 9, moved: 5 });
  });

  it("is rid of an expunged message in the bucket as well, before that is acknowledged", async () => {
    const ids = await publish("archived.expunged");
    await archive("archived.expunged");
    await vi.waitUntil(async () => (await call("GET", `/v1/messages/${ids[7]}`)).status === 200, WAIT);
    expect((await call("DELETE", `/v1/messages/${ids[7]}/content`)).status).toBe(204);
    expect(await keysOf("archived.expunged")).toEqual([]);
    expect((await call("GET", `/v1/messages/${ids[7]}/content`)).status).toBe(410);
    const read = await envelopes("archived.expunged");
    expect(read.map(({ n, expunged, data }: any) => n ?? (expunged === true ? "expunged" : JSON.parse(data).n))).toEqual(Array.from({ length: COUNT }, (_, n) => (n === 7 ? "expunged" : n)));
    await runUntil("archived.expunged", async () => (await rowsOf("archived.expunged")).moved === COUNT - 1);
    const [key = ""] = await keysOf("archived.expunged");
    const moved = await (await bucket.get(key))?.text();
    expect([moved?.includes(bodyOf(6)), moved?.includes(bodyOf(7))]).toEqual([true, false]);
    expect((await envelopes("archived.expunged"))[7].expunged).toBe(true);
  });

  it("loses its objects to retention, and answers 410 with the earliest offset that is left", async () => {
    await publish("archived.trimmed");
    await archive("archived.trimmed");
    expect((await call("PUT", "/v1/topics/archived.trimmed", { maxBytes: 20_000 })).status).toBe(200);
    const earliest = async () => (await call("GET", "/v1/topics/archived.trimmed")).json.earliestOffset;
    await runUntil("archived.trimmed", async () => (await earliest()) > 0);
    const left = await earliest();
    const gone = await call("GET", "/v1/stream/topics/archived.trimmed?offset=0");
    expect([gone.status, Number(gone.headers.get("stream-earliest-offset")?.slice(17))]).toEqual([410, left]);
    expect((await envelopes("archived.trimmed")).map(({ offset }) => offset)).toEqual(Array.from({ length: COUNT - left }, (_, index) => left + index));
    expect((await call("PUT", "/v1/topics/archived.trimmed", { retentionSeconds: 1 })).status).toBe(200);
    await runUntil("archived.trimmed", async () => (await keysOf("archived.trimmed")).length === 0);
    expect(await envelopes("archived.trimmed")).toEqual([]);
  });

  it("goes from the bucket with the tenant, also where the bucket did not answer at first", async () => {
    await publish("archived.kept");
    await archive("archived.kept");
    expect(await keysOf("archived.kept")).toHaveLength(1);
    const stream = "default/topics/archived.kept";
    const remove = vi.spyOn(Object.getPrototypeOf(bucket) as R2Bucket, "delete").mockRejectedValueOnce(new Error("the bucket does not answer"));
    const failure = await runInDurableObject(stubOf("archived.kept"), (object) => (object as unknown as StreamApi).destroy(stream).then(() => null, String));
    expect(failure).toContain("the bucket does not answer");
    remove.mockRestore();
    expect((await envelopes("archived.kept")).length).toBe(COUNT);
    await streamStub(env.STREAMS, stream).destroy(stream);
    expect(await keysOf("archived.kept")).toEqual([]);
    await vi.waitUntil(async () => (await rowsOf("archived.kept").catch(() => null))?.all === 0, WAIT);
  });
});
