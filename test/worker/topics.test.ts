import { applyD1Migrations, type D1Migration, runDurableObjectAlarm } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { streamStub } from "../../src/streams/stub.ts";

const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

const WAIT = { timeout: 10_000, interval: 50 };
const DEFAULTS = { retentionSeconds: 2_592_000, maxBytes: null };

type Answer = { readonly status: number; readonly json: any };

async function call(method: string, path: string, body?: unknown, tenant = "default"): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      method,
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "postern-tenant": tenant, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  return { status: response.status, json: text === "" ? undefined : JSON.parse(text) };
}

async function publish(topic: string, data = "hello", tenant?: string): Promise<string> {
  const { status, json } = await call("POST", `/v1/events/${topic}`, data, tenant);
  expect(status).toBe(202);
  return json.id;
}

/** Runs the stream's alarm until its log begins there. */
async function untilEarliest(topic: string, offset: number): Promise<void> {
  const stream = `default/topics/${topic}`;
  await vi.waitUntil(async () => {
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    return (await streamStub(env.STREAMS, stream).describe(stream)).earliestOffset === offset;
  }, WAIT);
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES ('ten_other', 'other', 0)").run();
});

describe("PUT /v1/topics/{topic}", () => {
  it("changes what it names and nothing else, and null is the default", async () => {
    expect(await call("PUT", "/v1/topics/set.up", { maxBytes: 5_000_000 })).toEqual({
      status: 200, json: { topic: "set.up", ...DEFAULTS, maxBytes: 5_000_000 },
    });
    expect((await call("PUT", "/v1/topics/set.up", { retentionSeconds: 60 })).json).toMatchObject({ retentionSeconds: 60, maxBytes: 5_000_000 });
    expect((await call("GET", "/v1/topics/set.up")).json).toEqual({
      topic: "set.up", retentionSeconds: 60, maxBytes: 5_000_000, earliestOffset: 0, nextOffset: 0, earliestTime: null, bytes: 0,
    });
    expect((await call("PUT", "/v1/topics/set.up", { retentionSeconds: null, maxBytes: null })).json).toMatchObject(DEFAULTS);
    expect((await call("DELETE", "/v1/topics/set.up")).status).toBe(204);
    expect((await call("GET", "/v1/topics/set.up")).status).toBe(404);
    expect((await call("DELETE", "/v1/topics/set.up")).status).toBe(204);
    const { json } = await call("GET", "/v1/audit?limit=20");
    expect(json.data.map((entry: { action: string }) => entry.action)).toEqual(["topic.delete", "topic.update", "topic.update", "topic.update"]);
  });

  it("refuses what is no topic, no bound and no field", async () => {
    expect((await call("PUT", "/v1/topics/a..b", {})).status).toBe(400);
    expect((await call("GET", "/v1/topics/a*")).status).toBe(400);
    for (const body of [{ retentionSeconds: 0 }, { retentionSeconds: 1.5 }, { retentionSeconds: "1" }, { maxBytes: 0 }, { maxBytes: -1 }, { maxBytes: 1e11 }]) {
      expect(await call("PUT", "/v1/topics/bad", body)).toMatchObject({ status: 422, json: { errors: [{ pointer: `/${Object.keys(body)[0]}` }] } });
    }
    expect(await call("PUT", "/v1/topics/bad", { keep: 1 })).toMatchObject({ status: 422, json: { errors: [{ pointer: "/keep" }] } });
    expect((await call("GET", "/v1/topics/bad")).status).toBe(404);
  });

  it("keeps messages by age: what is older goes, offsets go on", async () => {
    for (let index = 0; index < 3; index++) await publish("kept.by.age");
    expect((await call("PUT", "/v1/topics/kept.by.age", { retentionSeconds: 1 })).status).toBe(200);
    await untilEarliest("kept.by.age", 3);
    expect((await call("GET", "/v1/topics/kept.by.age")).json).toMatchObject({ earliestOffset: 3, nextOffset: 3, earliestTime: null, bytes: 0 });
    const { json } = await call("POST", "/v1/events/kept.by.age", "again");
    expect(json.offset).toBe(3);
    const endpoint = await call("POST", "/v1/endpoints", { kind: "pull" });
    const replay = (body: object) => call("POST", `/v1/endpoints/${endpoint.json.id}/replay`, { topic: "kept.by.age", dryRun: true, ...body });
    expect(await replay({ fromOffset: 2 })).toMatchObject({ status: 410, json: { detail: expect.stringContaining("3") } });
    expect(await replay({})).toMatchObject({ status: 202, json: { count: 1 } });
  });

  it("keeps messages by size: the oldest go, the newest stays however large", async () => {
    expect((await call("PUT", "/v1/topics/kept.by.size", { maxBytes: 3_000 })).status).toBe(200);
    for (let index = 0; index < 5; index++) await publish("kept.by.size", "x".repeat(1_000));
    await untilEarliest("kept.by.size", 3);
    const { json } = await call("GET", "/v1/topics/kept.by.size");
    expect(json.bytes).toBeGreaterThan(2_000);
    expect(json.bytes).toBeLessThanOrEqual(3_000);
    await publish("kept.by.size", "x".repeat(10_000));
    await untilEarliest("kept.by.size", 5);
  });

  it("removes nothing that is still to be delivered", async () => {
    const endpoint = await call("POST", "/v1/endpoints", { kind: "push", url: "https://example.com/", topics: ["kept.open"] });
    expect((await call("POST", `/v1/endpoints/${endpoint.json.id}/pause`)).status).toBe(200);
    const id = await publish("kept.open");
    expect((await call("PUT", "/v1/topics/kept.open", { retentionSeconds: 1 })).status).toBe(200);
    await vi.waitUntil(async () => (await call("GET", `/v1/messages/${id}/deliveries`)).json.data?.[0]?.reason === "paused", WAIT);
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    const stream = "default/topics/kept.open";
    await runDurableObjectAlarm(env.STREAMS.getByName(stream));
    expect(await streamStub(env.STREAMS, stream).describe(stream)).toMatchObject({ earliestOffset: 0, nextOffset: 1 });
    expect((await call("DELETE", `/v1/endpoints/${endpoint.json.id}`)).status).toBe(204);
    await untilEarliest("kept.open", 1);
  });

  it("does not spin where one message alone is larger than the bound", async () => {
    expect((await call("PUT", "/v1/topics/one.large", { maxBytes: 10 })).status).toBe(200);
    await publish("one.large", "x".repeat(1_000));
    const stub = env.STREAMS.getByName("default/topics/one.large");
    for (let round = 0; round < 5; round++) await runDurableObjectAlarm(stub);
    const { runInDurableObject } = await import("cloudflare:test");
    const alarm = await runInDurableObject(stub, (_object, { storage }) => storage.getAlarm());
    expect(alarm === null || alarm > Date.now() + 500).toBe(true);
  });
});

describe("GET /v1/topics", () => {
  it("lists topics with messages and topics with settings, by name, page by page, of the tenant alone", async () => {
    await publish("list.b", "x", "ten_other");
    await publish("list.a", "x", "ten_other");
    await call("PUT", "/v1/topics/list.c", { retentionSeconds: 5 }, "ten_other");
    await call("PUT", "/v1/topics/list.a", { maxBytes: 7 }, "ten_other");
    const list = async (query: string) => (await call("GET", `/v1/topics${query}`, undefined, "ten_other")).json;
    await vi.waitUntil(async () => (await list("")).data.length === 3, WAIT);
    const first = await list("?limit=2");
    expect(first.data).toEqual([
      { topic: "list.a", ...DEFAULTS, maxBytes: 7 },
      { topic: "list.b", ...DEFAULTS },
    ]);
    expect(await list(`?limit=2&cursor=${first.next}`)).toEqual({ data: [{ topic: "list.c", ...DEFAULTS, retentionSeconds: 5 }], next: null });
    expect((await call("GET", `/v1/topics?cursor=${first.next}`)).status).toBe(400);
    const mine = (await call("GET", "/v1/topics?limit=250")).json.data.map((entry: { topic: string }) => entry.topic);
    expect(mine).not.toContain("list.b");
  });
});
