import { applyD1Migrations, type D1Migration, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { streamStub } from "../../src/streams/stub.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

type Arrived = { readonly url: string; readonly id: string; readonly timestamp: number; readonly body: string };
type Answer = { readonly status: number; readonly headers: Headers; readonly json: any };

const WAIT = { timeout: 15_000, interval: 50 };
let arrived: Arrived[] = [];
let answerStatus = 204;

async function call(method: string, path: string, body?: unknown, tenant = "default"): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "postern-tenant": tenant, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, headers: response.headers, json: text === "" ? undefined : JSON.parse(text) };
}

async function publish(topic: string, count: number): Promise<string[]> {
  const messages = Array.from({ length: count }, (_, index) => ({ topic, data: `message ${index}` }));
  const ids: string[] = [];
  for (let start = 0; start < count; start += 500) {
    const { status, json } = await call("POST", "/v1/batch", { messages: messages.slice(start, start + 500) });
    expect(status).toBe(202);
    ids.push(...json.results.map((result: { id: string }) => result.id));
  }
  return ids;
}

async function createEndpoint(fields: Record<string, unknown> = {}, tenant?: string): Promise<string> {
  const url = `https://example.com/${crypto.randomUUID()}`;
  const { status, json } = await call("POST", "/v1/endpoints", { kind: "push", url, ...fields }, tenant);
  expect(status).toBe(201);
  return json.id;
}

async function replay(endpointId: string, body: Record<string, unknown>): Promise<{ count: number; jobId: string }> {
  const { status, json } = await call("POST", `/v1/endpoints/${endpointId}/replay`, body);
  expect({ status, json }).toMatchObject({ status: 202 });
  return json;
}

async function untilJob(jobId: string, status: string): Promise<any> {
  let job: any;
  await vi.waitUntil(async () => (job = (await call("GET", `/v1/jobs/${jobId}`)).json).status === status, WAIT);
  return job;
}

function openRows(topic: string): Promise<number> {
  return runInDurableObject(env.STREAMS.getByName(`default/topics/${topic}`), (_object, { storage }) =>
    storage.sql.exec<{ n: number }>("SELECT count(*) AS n FROM open_deliveries").one().n,
  );
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_other', 'other', 0)").run();
  vi.spyOn(globalThis, "fetch").mockImplementation(async (input, init) => {
    const headers = new Headers(init?.headers);
    arrived.push({
      url: String(input),
      id: headers.get("webhook-id") ?? "",
      timestamp: Number(headers.get("webhook-timestamp")),
      body: await new Response(init?.body ?? null).text(),
    });
    return new Response(null, { status: answerStatus });
  });
});

beforeEach(() => {
  arrived = [];
  answerStatus = 204;
});

describe("POST /v1/endpoints/{id}/replay", () => {
  it("delivers what was published before the endpoint subscribed, under the same webhook-id with a new timestamp", async () => {
    const ids = await publish("replay.late", 5);
    const endpointId = await createEndpoint();
    const dry = await replay(endpointId, { topic: "replay.late", dryRun: true });
    expect(dry).toEqual({ count: 5, jobId: null });
    expect(arrived).toEqual([]);

    const startedAt = Math.floor(Date.now() / 1000);
    const { count, jobId } = await replay(endpointId, { topic: "replay.late" });
    expect(count).toBe(5);
    await vi.waitUntil(() => arrived.length === 5, WAIT);
    expect(arrived.map(({ id }) => id).sort()).toEqual([...ids].sort());
    expect(arrived.map(({ body }) => body).sort()).toEqual(Array.from({ length: 5 }, (_, index) => `message ${index}`));
    expect(arrived.every(({ timestamp }) => timestamp >= startedAt)).toBe(true);
    expect(await untilJob(jobId, "done")).toMatchObject({
      id: jobId, kind: "replay", topic: "replay.late", endpointId, total: 5, done: 5, fromOffset: 0, untilOffset: 5, reason: null,
    });
    await vi.waitUntil(async () => (await openRows("replay.late")) === 0, WAIT);
    await vi.waitUntil(async () => {
      const { json } = await call("GET", `/v1/messages/${ids[4]}/deliveries`);
      return json.data?.[0]?.status === "delivered";
    }, WAIT);
  });

  it("delivers again what the endpoint has had, and ignores its filters", async () => {
    const endpointId = await createEndpoint({ topics: ["replay.again"], filter: { region: ["eu"] } });
    await publish("replay.again", 3);
    expect((await replay(endpointId, { topic: "replay.again" })).count).toBe(3);
    await vi.waitUntil(() => arrived.length === 3, WAIT);
  });

  it("takes a stretch by offsets or times, the end without, and leaves out what was expunged", async () => {
    const ids = await publish("replay.stretch", 10);
    const endpointId = await createEndpoint();
    const countOf = async (body: Record<string, unknown>) => (await replay(endpointId, { topic: "replay.stretch", dryRun: true, ...body })).count;
    expect(await countOf({ fromOffset: 4 })).toBe(6);
    expect(await countOf({ fromOffset: "0000000000000000_0000000000000009" })).toBe(1);
    expect(await countOf({ fromOffset: "-1" })).toBe(10);
    expect(await countOf({ fromOffset: 10 })).toBe(0);
    await new Promise((resolve) => setTimeout(resolve, 5));
    const between = new Date().toISOString();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await publish("replay.stretch", 7);
    expect(await countOf({ until: between })).toBe(10);
    expect(await countOf({ since: between })).toBe(7);
    expect(await countOf({ fromOffset: 8, until: between })).toBe(2);
    expect(await countOf({ since: "2020-01-01T00:00:00Z" })).toBe(17);
    expect(await countOf({ since: "2099-01-01T00:00:00Z" })).toBe(0);
    expect((await call("DELETE", `/v1/messages/${ids[8]}/content`)).status).toBe(204);
    expect(await countOf({ fromOffset: 8, until: between })).toBe(1);
    const { jobId } = await replay(endpointId, { topic: "replay.stretch", fromOffset: 8, until: between });
    await untilJob(jobId, "done");
    await vi.waitUntil(() => arrived.length === 1, WAIT);
    expect(arrived[0]?.id).toBe(ids[9]);
  });

  it("is a job that is done at once where there is nothing to deliver", async () => {
    const { count, jobId } = await replay(await createEndpoint(), { topic: "replay.nothing" });
    expect(count).toBe(0);
    expect((await call("GET", `/v1/jobs/${jobId}`)).json).toMatchObject({ status: "done", total: 0, done: 0 });
  });

  it("refuses what is no topic, no offset, beyond the head, no endpoint or another tenant's", async () => {
    await publish("replay.refused", 2);
    const endpointId = await createEndpoint();
    const post = (body: unknown, id = endpointId, tenant?: string) => call("POST", `/v1/endpoints/${id}/replay`, body, tenant);
    expect(await post({ topic: "a b" })).toMatchObject({ status: 400, json: { type: expect.stringContaining("malformed-target") } });
    for (const fromOffset of ["abc", -1, -2, 1.5, "now", "1e3", "0000000000000001_0000000000000000", ""]) {
      expect(await post({ topic: "replay.refused", fromOffset })).toMatchObject({ status: 422, json: { errors: [{ pointer: "/fromOffset" }] } });
    }
    expect(await post({ topic: "replay.refused", fromOffset: 3 })).toMatchObject({ status: 422 });
    expect(await post({ topic: "replay.refused", fromOffset: true })).toMatchObject({ status: 422 });
    expect(await post({})).toMatchObject({ status: 422 });
    expect(await post({ topic: "replay.refused", fromOffset: 0, since: "2026-01-01T00:00:00Z" })).toMatchObject({ status: 422 });
    expect(await post({ topic: "replay.refused", since: "2026-01-02T00:00:00Z", until: "2026-01-01T00:00:00Z" })).toMatchObject({ status: 422 });
    expect(await post({ topic: "replay.refused", limit: 1 })).toMatchObject({ status: 422 });
    expect(await post({ topic: "replay.refused" }, "ep_unknown")).toMatchObject({ status: 404 });
    expect(await post({ topic: "replay.refused" }, endpointId, "ten_other")).toMatchObject({ status: 404 });
    expect(arrived).toEqual([]);
  });
});

describe("a replay", () => {
  it("is paced: a portion at a time, the next when the one before was attempted", async () => {
    await publish("replay.paced", 450);
    const endpointId = await createEndpoint();
    const { jobId } = await replay(endpointId, { topic: "replay.paced" });
    let most = 0;
    await vi.waitUntil(async () => {
      most = Math.max(most, await openRows("replay.paced"));
      return arrived.length >= 450;
    }, WAIT);
    expect(most).toBeLessThanOrEqual(200);
    expect(arrived.length).toBe(450);
    expect(new Set(arrived.map(({ id }) => id)).size).toBe(450);
    expect(await untilJob(jobId, "done")).toMatchObject({ total: 450, done: 450 });
  });

  it("waits while the endpoint is paused, and goes on when it is resumed", async () => {
    await publish("replay.paused", 300);
    const endpointId = await createEndpoint();
    expect((await call("POST", `/v1/endpoints/${endpointId}/pause`)).status).toBe(200);
    const { jobId } = await replay(endpointId, { topic: "replay.paused" });
    await vi.waitUntil(async () => (await call("GET", `/v1/jobs/${jobId}`)).json.done > 0, WAIT);
    for (let round = 0; round < 3; round++) await runDurableObjectAlarm(env.STREAMS.getByName("default/topics/replay.paused"));
    expect((await call("GET", `/v1/jobs/${jobId}`)).json).toMatchObject({ status: "running", total: 300 });
    expect(await openRows("replay.paused")).toBeLessThanOrEqual(200);
    expect(arrived).toEqual([]);
    expect((await call("POST", `/v1/endpoints/${endpointId}/resume`)).status).toBe(200);
    await untilJob(jobId, "done");
    await vi.waitUntil(() => new Set(arrived.map(({ id }) => id)).size === 300, WAIT);
  });

  it("stops on DELETE, and what it has opened goes on", async () => {
    await publish("replay.stopped", 300);
    const endpointId = await createEndpoint();
    expect((await call("POST", `/v1/endpoints/${endpointId}/pause`)).status).toBe(200);
    const { jobId } = await replay(endpointId, { topic: "replay.stopped" });
    await vi.waitUntil(async () => (await openRows("replay.stopped")) === 200, WAIT);
    expect((await call("DELETE", `/v1/jobs/${jobId}`)).status).toBe(204);
    expect((await call("GET", `/v1/jobs/${jobId}`)).json).toMatchObject({ status: "stopped", done: 200, reason: "Stopped on request." });
    expect((await call("DELETE", `/v1/jobs/${jobId}`)).status).toBe(204);
    expect((await call("POST", `/v1/endpoints/${endpointId}/resume`)).status).toBe(200);
    await vi.waitUntil(() => arrived.length === 200, WAIT);
    await vi.waitUntil(async () => (await openRows("replay.stopped")) === 0, WAIT);
    await runDurableObjectAlarm(env.STREAMS.getByName("default/topics/replay.stopped"));
    expect(await openRows("replay.stopped")).toBe(0);
  });

  it("stops when its endpoint is deleted", async () => {
    await publish("replay.orphan", 300);
    const endpointId = await createEndpoint();
    expect((await call("POST", `/v1/endpoints/${endpointId}/pause`)).status).toBe(200);
    const { jobId } = await replay(endpointId, { topic: "replay.orphan" });
    await vi.waitUntil(async () => (await openRows("replay.orphan")) === 200, WAIT);
    expect((await call("DELETE", `/v1/endpoints/${endpointId}`)).status).toBe(204);
    await vi.waitUntil(async () => {
      await runDurableObjectAlarm(env.STREAMS.getByName("default/topics/replay.orphan"));
      return (await call("GET", `/v1/jobs/${jobId}`)).json.status === "stopped";
    }, WAIT);
    expect((await call("GET", `/v1/jobs/${jobId}`)).json).toMatchObject({ reason: "The endpoint was deleted." });
    expect(arrived).toEqual([]);
  });

  it("keeps what it has yet to deliver from being trimmed", async () => {
    await publish("replay.kept", 300);
    const endpointId = await createEndpoint();
    expect((await call("POST", `/v1/endpoints/${endpointId}/pause`)).status).toBe(200);
    await replay(endpointId, { topic: "replay.kept" });
    expect((await call("PUT", "/v1/topics/replay.kept", { retentionSeconds: 1 })).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await runDurableObjectAlarm(env.STREAMS.getByName("default/topics/replay.kept"));
    const stream = "default/topics/replay.kept";
    expect(await streamStub(env.STREAMS, stream).describe(stream)).toMatchObject({ earliestOffset: 0, nextOffset: 300 });
  });
});

describe("GET /v1/jobs", () => {
  it("lists the tenant's own, newest first, page by page, and shows no other's", async () => {
    const endpointId = await createEndpoint();
    const made: string[] = [];
    for (let index = 0; index < 3; index++) {
      made.push((await replay(endpointId, { topic: "replay.listed" })).jobId);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
    const first = (await call("GET", "/v1/jobs?limit=2")).json;
    expect(first.data.map((job: { id: string }) => job.id)).toEqual([made[2], made[1]]);
    const second = (await call("GET", `/v1/jobs?limit=1&cursor=${first.next}`)).json;
    expect(second.data[0].id).toBe(made[0]);
    expect((await call("GET", "/v1/jobs?cursor=tampered")).status).toBe(400);
    expect((await call("GET", "/v1/jobs", undefined, "ten_other")).json).toEqual({ data: [], next: null });
    expect((await call("GET", `/v1/jobs/${made[0]}`, undefined, "ten_other")).status).toBe(404);
    expect((await call("DELETE", `/v1/jobs/${made[0]}`, undefined, "ten_other")).status).toBe(404);
    expect((await call("GET", "/v1/jobs/job_unknown")).status).toBe(404);
  });

  it("leaves a trace in the audit log", async () => {
    const endpointId = await createEndpoint();
    const { jobId } = await replay(endpointId, { topic: "replay.audited" });
    const { json } = await call("GET", "/v1/audit?limit=10");
    expect(json.data).toContainEqual(expect.objectContaining({ action: "endpoint.replay", target: endpointId }));
    expect(JSON.stringify(json.data)).toContain(jobId);
  });
});
