import {
  applyD1Migrations, createExecutionContext, createMessageBatch, type D1Migration, getQueueResult, runDurableObjectAlarm, runInDurableObject,
} from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import worker from "../../src/index.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

const HOUR_MS = 60 * 60 * 1000;
let answerStatus = 500;
let attempts = 0;

async function api(method: string, path: string, body: unknown): Promise<any> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "content-type": "application/json" },
      body: JSON.stringify(body),
    }),
  );
  return response.json();
}

/** Publishes to one endpoint whose first attempt fails; resolves once the delivery waits for its retry. */
async function failOnce(topic: string, retrySchedule: number[]): Promise<{ id: string; endpointId: string; offset: number; stream: string }> {
  answerStatus = 500;
  const endpoint = await api("POST", "/v1/endpoints", { kind: "push", url: "https://example.com/hook", topics: [topic], retrySchedule });
  const { id, offset } = await api("POST", `/v1/events/${topic}`, { hello: 1 });
  const stream = `default/topics/${topic}`;
  await vi.waitUntil(async () => (await rowsOf(stream)).length === 1, { timeout: 5_000, interval: 20 });
  return { id, endpointId: endpoint.id, offset, stream };
}

function rowsOf(stream: string): Promise<{ status: string; next_at: number | null; attempts: number }[]> {
  return runInDurableObject(env.STREAMS.getByName(stream), (_object, { storage }) =>
    storage.sql.exec<{ status: string; next_at: number | null; attempts: number }>("SELECT status, next_at, attempts FROM open_deliveries").toArray(),
  );
}

/** As if the time of the retry had passed and its queue message never came. */
async function makeOverdue(stream: string): Promise<void> {
  await runInDurableObject(env.STREAMS.getByName(stream), (_object, { storage }) => {
    storage.sql.exec("UPDATE open_deliveries SET next_at = ?", Date.now() - 60_000);
  });
}

/** Runs the queue handler on one batch; which messages it acknowledged. */
async function consume(queue: string, bodies: Record<string, unknown>): Promise<readonly string[]> {
  const messages = Object.entries(bodies).map(([id, body]) => ({ id, timestamp: new Date(), attempts: 1, body }));
  const batch = createMessageBatch(queue, messages);
  const context = createExecutionContext();
  await worker.queue(batch, env, context);
  return (await getQueueResult(batch, context)).explicitAcks;
}

async function untilStatus(id: string, status: string): Promise<void> {
  const read = () => env.DB.prepare("SELECT status, reason FROM deliveries WHERE message_id = ?").bind(id).first<{ status: string }>();
  await vi.waitUntil(async () => (await read())?.status === status, { timeout: 10_000, interval: 50 });
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  vi.spyOn(globalThis, "fetch").mockImplementation(async () => {
    attempts++;
    return new Response(null, { status: answerStatus });
  });
});
afterEach(() => {
  attempts = 0;
});

describe("what the queue loses", () => {
  it("is found by the stream's alarm and attempted again", async () => {
    const { id, stream } = await failOnce("lost.message", [3600]);
    await makeOverdue(stream);
    answerStatus = 204;
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    await untilStatus(id, "delivered");
    expect(await rowsOf(stream)).toEqual([]);
    expect(attempts).toBe(2);
  });

  it("is not swept while an attempt of it is under way or its time has not come", async () => {
    const { stream } = await failOnce("not.lost", [3600]);
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    const [row] = await rowsOf(stream);
    expect(row).toMatchObject({ status: "waiting", attempts: 1 });
    expect(row?.next_at).toBeGreaterThan(Date.now() + 0.85 * HOUR_MS);
    expect(attempts).toBe(1);
  });
});

describe("an ordered endpoint that is asked again", () => {
  it("gets each message once, also where nobody told the stream that it takes them again", { timeout: 40_000 }, async () => {
    answerStatus = 204;
    const { id } = await api("POST", "/v1/endpoints", { kind: "push", url: "https://example.com/hook", topics: ["asked.again"], ordered: true });
    expect(await api("POST", `/v1/endpoints/${id}/pause`, {})).toMatchObject({ id });
    const stream = "default/topics/asked.again";
    for (const number of [1, 2, 3, 4]) await api("POST", "/v1/events/asked.again", { number });
    await vi.waitUntil(async () => (await rowsOf(stream)).some(({ status }) => status === "held"), { timeout: 5_000, interval: 20 });
    await env.DB.prepare("UPDATE endpoints SET status = 'active' WHERE id = ?").bind(id).run();
    await runInDurableObject(env.STREAMS.getByName(stream), (_object, { storage }) => {
      storage.sql.exec("UPDATE holds SET next_probe_at = ?", Date.now() - 1);
    });
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    await vi.waitUntil(async () => (await rowsOf(stream)).length === 0, { timeout: 20_000, interval: 50 });
    expect(attempts).toBe(4);
  });
});

describe("a step beyond 24 hours", () => {
  it("is carried by the stream's alarm, not by the queue", async () => {
    const sent = vi.spyOn(env.DELIVERIES, "sendBatch");
    const { id, stream } = await failOnce("long.step", [97_200]);
    expect(sent).not.toHaveBeenCalled();
    const alarm = await runInDurableObject(env.STREAMS.getByName(stream), (_object, { storage }) => storage.getAlarm());
    expect(alarm).not.toBeNull();
    await makeOverdue(stream);
    answerStatus = 200;
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    await untilStatus(id, "delivered");
    sent.mockRestore();
  });
});

describe("a job that kept failing", () => {
  it("ends, by way of the dead-letter queue, as a visible dead delivery that can be replayed", async () => {
    const { id, endpointId, offset, stream } = await failOnce("poison.job", [3600]);
    expect(await consume("deliveries-dlq", { job: { v: 1, stream, refs: [{ offset, endpointId }] } })).toEqual(["job"]);
    await untilStatus(id, "dead");
    expect((await api("POST", "/v1/dead/replay", { endpointId, dryRun: true })).count).toBe(1);
    answerStatus = 200;
    expect((await api("POST", "/v1/dead/replay", { endpointId })).count).toBe(1);
    await untilStatus(id, "delivered");
  });

  it("is acknowledged when it names nothing, without harm to the rest of its batch", async () => {
    const { endpointId, offset, stream, id } = await failOnce("malformed.job", [3600]);
    await makeOverdue(stream);
    answerStatus = 200;
    const acknowledged = await consume("deliveries", { bad: { nonsense: true }, good: { v: 1, stream, refs: [{ offset, endpointId }] } });
    expect([...acknowledged].sort()).toEqual(["bad", "good"]);
    await untilStatus(id, "delivered");
  });
});
