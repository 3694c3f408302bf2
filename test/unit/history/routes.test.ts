import { beforeEach, describe, expect, it, vi } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { createKeyRing } from "../../../src/crypto/keyring.ts";
import { onError } from "../../../src/http/on-error.ts";
import { createRouter, type Scope } from "../../../src/http/router.ts";
import { dead } from "../../../src/http/routes/dead.ts";
import { endpointHistory } from "../../../src/http/routes/endpoint-history.ts";
import { messages } from "../../../src/http/routes/messages.ts";
import { stats } from "../../../src/http/routes/stats.ts";
import { toTime } from "../../../src/http/schemas.ts";
import type { Content } from "../../../src/streams/contract.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, ofQueue, T0, TENANT, write } from "./rows.ts";
import { NO_LIMITS } from "../../../src/storage/limits.ts";
import { openDatabase } from "./sqlite-d1.ts";

const STREAM = `${TENANT}/topics/orders.completed`;
const config = parseConfig({ POSTERN_ENCRYPTION_KEYS: `test:${Buffer.alloc(32, 7).toString("base64")}` });

type Call = { readonly call: string; readonly stream: string; readonly of?: unknown };

/** The routes for one caller, over a real SQLite and streams that note what they are asked. */
function gateway(scopes: readonly Scope[] = ["read", "manage"], tenantId = TENANT) {
  const { db, sqlite } = openDatabase();
  const calls: Call[] = [];
  const streams = { earliestOffset: 0, content: { ok: true, contentType: "text/html", body: new Uint8Array([60, 255, 0]) } as Content, opens: true };
  const stub = (name: string) => ({
    content: async (stream: string, offset: number) => (calls.push({ call: "content", stream, of: offset }), streams.content),
    expunge: async (stream: string, offset: number) => (calls.push({ call: "expunge", stream, of: offset }), true),
    reopen: async (stream: string, refs: readonly unknown[]) => {
      expect(stream).toBe(name);
      calls.push({ call: "reopen", stream, of: refs });
      return streams.opens ? refs.length : 0;
    },
    describe: async () => ({ earliestOffset: streams.earliestOffset, nextOffset: 100, earliestTimeMs: null, bytes: 0 }),
    flushHistory: async (stream: string) => void calls.push({ call: "flush", stream }),
  });
  const app = createRouter();
  app.onError(onError);
  app.use(async (c, next) => {
    c.set("requestId", "req_test");
    c.set("config", config);
    c.set("keyRing", createKeyRing(config.encryptionKeys));
    c.set("limits", NO_LIMITS);
    c.set("principal", { tokenId: "tok_1", operator: false, tenantId, scopes: new Set(scopes) });
    await next();
  });
  for (const routes of [messages, dead, endpointHistory, stats]) app.route("/", routes);
  const env = { DB: db, STREAMS: { getByName: stub } };
  const send = (method: string, path: string, body?: unknown) =>
    app.request(path, { method, ...(body === undefined ? {} : { body: JSON.stringify(body), headers: { "content-type": "application/json" } }) }, env);
  return { db, sqlite, calls, streams, send, get: (path: string) => send("GET", path) };
}

async function problem(response: Response) {
  const body: { type: string; errors?: { pointer: string }[] } = await response.json();
  return { status: response.status, code: body.type.split("/").at(-1), pointers: body.errors?.map((error) => error.pointer) };
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] });
  return () => vi.useRealTimers();
});

/** Lets the waits for history pass at once. */
async function patiently<Value>(pending: Value | Promise<Value>): Promise<Value> {
  const pump = (async () => {
    for (let step = 0; step < 25; step++) await vi.advanceTimersByTimeAsync(100);
  })();
  const [value] = await Promise.all([pending, pump]);
  return value;
}

describe("GET /v1/messages", () => {
  it("shows a message as the contract has it", async () => {
    const { db, get } = gateway();
    await write(db, { messages: [message(3, { event: { source: "shop" }, endpointIds: ["ep_1"] })] });
    const response = await get("/v1/messages/msg_3");
    expect(response.status).toBe(200);
    expect(await response.json()).toEqual({
      id: "msg_3",
      topic: "orders.completed",
      offset: 3,
      time: "2026-11-17T09:00:03.000Z",
      contentType: "application/json",
      size: 17,
      attributes: { region: "eu" },
      event: { source: "shop" },
      matched: 1,
      expungedAt: null,
    });
  });

  it("pages through a list, newest first, by the cursor it gives", async () => {
    const { db, get } = gateway();
    await write(db, { messages: [0, 1, 2].map((offset) => message(offset)) });
    const first = await (await get("/v1/messages?limit=2")).json<{ data: { id: string }[]; next: string }>();
    expect(first.data.map(({ id }) => id)).toEqual(["msg_2", "msg_1"]);
    const second = await (await get(`/v1/messages?limit=2&cursor=${first.next}`)).json<{ data: { id: string }[]; next: null }>();
    expect(second).toMatchObject({ data: [{ id: "msg_0" }], next: null });
    const changed = `${first.next.startsWith("A") ? "B" : "A"}${first.next.slice(1)}`;
    expect(await problem(await get(`/v1/messages?cursor=${changed}`))).toMatchObject({ status: 400, code: "invalid-cursor" });
  });

  it.each([
    ["since=yesterday", "?since"],
    ["until=2026-11-17", "?until"],
    ["since=2026-11-17T10:00:00Z&until=2026-11-17T09:00:00Z", "?until"],
    ["topic=orders.*", "?topic"],
    ["topic=", "?topic"],
    ["limit=251", "?limit"],
    ["limit=0", "?limit"],
  ])("answers 422 to ?%s and names %s", async (query, pointer) => {
    expect(await problem(await gateway().get(`/v1/messages?${query}`))).toEqual({ status: 422, code: "invalid-request", pointers: [pointer] });
  });

  it("finds a message that history hears of a moment after it was asked for", async () => {
    const { db, get } = gateway();
    const pending = get("/v1/messages/msg_0");
    await vi.advanceTimersByTimeAsync(150);
    await write(db, { messages: [message(0)] });
    expect((await patiently(pending)).status).toBe(200);
  });

  it("I7: answers another tenant's id exactly as one that does not exist", async () => {
    const { db, get } = gateway();
    await write(db, { tenantId: "ten_b", messages: [message(0)], deliveries: [delivery(0, "ep_1")] });
    for (const path of ["", "/content", "/deliveries"]) {
      const theirs = await patiently(get(`/v1/messages/msg_0${path}`));
      const none = await patiently(get(`/v1/messages/msg_none${path}`));
      expect(theirs.status).toBe(404);
      expect(await theirs.text()).toBe(await none.text());
    }
  });

  it("takes the topic asked for where several have the id", async () => {
    const { db, get } = gateway();
    await write(db, { topic: "a", messages: [message(0, { id: "o-1" })] });
    await write(db, { topic: "b", messages: [message(1, { id: "o-1" })] });
    expect(await (await get("/v1/messages/o-1")).json()).toMatchObject({ topic: "b" });
    expect(await (await get("/v1/messages/o-1?topic=a")).json()).toMatchObject({ topic: "a" });
  });
});

describe("the content of a message", () => {
  it("I4: is the stream's bytes and type, as a download that no browser runs", async () => {
    const { db, get, calls } = gateway();
    await write(db, { messages: [message(4)] });
    const response = await get("/v1/messages/msg_4/content");
    expect([...new Uint8Array(await response.arrayBuffer())]).toEqual([60, 255, 0]);
    expect(response.headers.get("content-type")).toBe("text/html");
    expect(response.headers.get("content-security-policy")).toMatch(/(^|; )sandbox$/);
    expect(response.headers.get("x-content-type-options")).toBe("nosniff");
    expect(response.headers.get("content-disposition")).toBe("attachment");
    expect(calls).toEqual([{ call: "content", stream: STREAM, of: 4 }]);
  });

  it.each(["expunged", "not-found"] as const)("answers 410 when the stream says %s", async (code) => {
    const { db, get, streams } = gateway();
    streams.content = { ok: false, code };
    await write(db, { messages: [message(4)] });
    expect(await problem(await get("/v1/messages/msg_4/content"))).toMatchObject({ status: 410, code: "gone" });
  });

  it("is expunged in the stream first, then marked and audited, and can not be sent again", async () => {
    const { db, sqlite, send, calls, get } = gateway();
    await write(db, { messages: [message(4)] });
    for (let times = 0; times < 2; times++) {
      const answered = send("DELETE", "/v1/messages/msg_4/content");
      await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1)); // it waits for the isolates' caches
      await vi.advanceTimersByTimeAsync(1_100);
      expect((await answered).status).toBe(204);
    }
    expect(calls[0]).toEqual({ call: "expunge", stream: STREAM, of: 4 });
    expect((await (await get("/v1/messages/msg_4")).json<{ expungedAt: string | null }>()).expungedAt).not.toBeNull();
    expect(sqlite.prepare("SELECT actor, action, target FROM audit LIMIT 1").get()).toEqual({ actor: "tok_1", action: "message.expunge", target: "msg_4" });
    expect(await problem(await send("POST", "/v1/messages/msg_4/resend", {}))).toMatchObject({ status: 410, code: "gone" });
    expect(calls.some(({ call }) => call === "reopen")).toBe(false);
  });
});

describe("GET /v1/messages/{id}/deliveries", () => {
  it("lists each delivery with its attempts, oldest first", async () => {
    const { db, get } = gateway();
    await write(db, {
      messages: [message(0)],
      deliveries: [delivery(0, "ep_1"), delivery(0, "ep_2", { status: "open", nextAttemptAtMs: T0 + 5000 })],
      attempts: [attempt(0, "ep_1", { startedAtMs: T0 + 6000 }), attempt(0, "ep_1", FAILURE)],
    });
    const { data, next } = await (await get("/v1/messages/msg_0/deliveries")).json<{ data: Record<string, unknown>[]; next: null }>();
    expect(next).toBeNull();
    expect(data[0]).toMatchObject({ target: "ep_2", endpointId: "ep_2", status: "open", nextAttemptAt: "2026-11-17T09:00:05.000Z", attempts: [] });
    expect(data[1]).toMatchObject({ messageId: "msg_0", endpointId: "ep_1", status: "delivered", nextAttemptAt: null });
    expect(data[1]?.["id"]).toMatch(/^dlv_[a-z2-7]{10}_0_1$/);
    const ids = [T0 + 10, T0 + 6000].map((timeMs) => `${String(data[1]?.["id"]).replace("dlv_", "att_")}_${timeMs.toString(36)}`);
    expect(data[1]?.["attempts"]).toEqual([
      { id: ids[0], time: toTime(T0 + 10), statusCode: 500, durationMs: 40, error: "status: answered 500", responseBody: "ok" },
      { id: ids[1], time: toTime(T0 + 6000), statusCode: 200, durationMs: 40, error: null, responseBody: "ok" },
    ]);
  });

  it("names the endpoint of the last attempt where the target is not one, and null before there is any", async () => {
    const { db, get } = gateway();
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "queue:jobs")], attempts: [attempt(0, "queue:jobs", FAILURE)] });
    await write(db, {
      ...ofQueue("jobs"),
      messages: [message(0)],
      deliveries: [delivery(0, "member")],
      attempts: [attempt(0, "member", { startedAtMs: T0 + 20, ...FAILURE }, "ep_2"), attempt(0, "member", { startedAtMs: T0 + 5020 }, "ep_1")],
    });
    type Listed = { data: { id: string; attempts: unknown[] }[]; next: string | null };
    const first = await (await get("/v1/messages/msg_0/deliveries?limit=1")).json<Listed>();
    const second = await (await get(`/v1/messages/msg_0/deliveries?limit=1&cursor=${first.next}`)).json<Listed>();
    expect([...first.data, ...second.data]).toMatchObject([
      { target: "queue:jobs", endpointId: null, topic: "orders.completed", attempts: [{ statusCode: 500 }] },
      { target: "member", endpointId: "ep_1", topic: "jobs", attempts: [{ statusCode: 500 }, { statusCode: 200 }] },
    ]);
    expect(second.next).toBeNull();
    await addEndpoint(db, "ep_1");
    const { data } = await (await get("/v1/endpoints/ep_1/attempts")).json<{ data: Record<string, unknown>[] }>();
    expect(data).toMatchObject([{ endpointId: "ep_1", topic: "jobs", deliveryId: second.data[0]?.id }]);
    expect(await (await get("/v1/messages/msg_0")).json()).toMatchObject({ topic: "orders.completed" });
  });

  it("ends a page early rather than return thousands of attempts, and goes on after it", async () => {
    const { db, get } = gateway();
    const ids = ["ep_1", "ep_2", "ep_3"];
    const attempts = ids.flatMap((id) => Array.from({ length: 900 }, (_, index) => attempt(0, id, { startedAtMs: T0 + index })));
    await write(db, { messages: [message(0)], deliveries: ids.map((id) => delivery(0, id)), attempts });
    type Listed = { data: { endpointId: string; attempts: unknown[] }[]; next: string | null };
    const first = await (await get("/v1/messages/msg_0/deliveries")).json<Listed>();
    expect(first.data.map((row) => [row.endpointId, row.attempts.length])).toEqual([["ep_3", 900], ["ep_2", 900]]);
    const second = await (await get(`/v1/messages/msg_0/deliveries?cursor=${first.next}`)).json<Listed>();
    expect(second.data.map((row) => row.endpointId)).toEqual(["ep_1"]);
    expect(second.next).toBeNull();
  });
});

describe("POST /v1/messages/{id}/resend", () => {
  it("opens the deliveries of all endpoints that still exist", async () => {
    const { db, send, calls } = gateway();
    for (const id of ["ep_1", "ep_2"]) await addEndpoint(db, id);
    await write(db, { messages: [message(0)], deliveries: ["ep_1", "ep_2", "ep_gone"].map((id) => delivery(0, id)) });
    const response = await send("POST", "/v1/messages/msg_0/resend", {});
    expect([response.status, await response.json()]).toEqual([202, { count: 2 }]);
    const refs = ["ep_1", "ep_2"].map((endpointId) => ({ offset: 0, endpointId }));
    expect(calls).toEqual([{ call: "reopen", stream: STREAM, of: refs }, { call: "flush", stream: STREAM }]);
  });

  it("opens one delivery, also to an endpoint the message was not for", async () => {
    const { db, send, calls } = gateway();
    await addEndpoint(db, "ep_new");
    await write(db, { messages: [message(0)] });
    expect(await (await send("POST", "/v1/messages/msg_0/resend", { endpointId: "ep_new" })).json()).toEqual({ count: 1 });
    expect(calls[0]?.of).toEqual([{ offset: 0, endpointId: "ep_new" }]);
  });

  it("opens deliveries whose target is not an endpoint, all or the one asked for", async () => {
    const { db, send, calls } = gateway();
    await write(db, { ...ofQueue("jobs"), messages: [message(0)], deliveries: [delivery(0, "member"), delivery(0, "ep_gone")] });
    expect(await (await send("POST", "/v1/messages/msg_0/resend", {})).json()).toEqual({ count: 1 });
    expect(await (await send("POST", "/v1/messages/msg_0/resend", { endpointId: "member" })).json()).toEqual({ count: 1 });
    const opened = { call: "reopen", stream: `${TENANT}/queues/jobs`, of: [{ offset: 0, endpointId: "member" }] };
    expect(calls.filter(({ call }) => call === "reopen")).toEqual([opened, opened]);
    expect(await problem(await send("POST", "/v1/messages/msg_0/resend", { endpointId: "queue:jobs" }))).toMatchObject({ status: 404 });
  });

  it("answers 404 for an endpoint of another tenant, as for none, and opens nothing", async () => {
    const { db, send, calls } = gateway();
    await addEndpoint(db, "ep_theirs", "ten_b");
    await write(db, { messages: [message(0)] });
    const theirs = await send("POST", "/v1/messages/msg_0/resend", { endpointId: "ep_theirs" });
    const none = await send("POST", "/v1/messages/msg_0/resend", { endpointId: "ep_none" });
    expect(theirs.status).toBe(404);
    expect(await theirs.text()).toBe(await none.text());
    expect(calls).toEqual([]);
  });

  it("answers 410 when the stream has dropped the message by age", async () => {
    const { db, send, streams } = gateway();
    Object.assign(streams, { opens: false, content: { ok: false, code: "not-found" } });
    await addEndpoint(db, "ep_1");
    await write(db, { messages: [message(0)], deliveries: [delivery(0, "ep_1")] });
    expect(await problem(await send("POST", "/v1/messages/msg_0/resend", {}))).toMatchObject({ status: 410, code: "gone" });
  });

  it.each([[{ endpoint: "ep_1" }], [{ endpointId: 7 }], [[]]])("answers 422 to %j", async (body) => {
    expect(await problem(await gateway().send("POST", "/v1/messages/msg_0/resend", body))).toMatchObject({ status: 422 });
  });
});

describe("dead letters", () => {
  const gaveUp = { status: "dead", reason: "exhausted" } as const;

  it("I2: are listed with the reason and their attempts", async () => {
    const { db, get } = gateway();
    await write(db, { deliveries: [delivery(0, "ep_1", gaveUp), delivery(1, "ep_1")], attempts: [attempt(0, "ep_1", FAILURE)] });
    const { data } = await (await get("/v1/dead")).json<{ data: unknown[] }>();
    expect(data).toMatchObject([{ messageId: "msg_0", topic: "orders.completed", status: "dead", reason: "exhausted", attempts: [{ statusCode: 500 }] }]);
  });

  it("are paged and filtered", async () => {
    const { db, get } = gateway();
    await write(db, { deliveries: [delivery(0, "ep_1", gaveUp), delivery(1, "ep_2", gaveUp), delivery(2, "ep_1", gaveUp)] });
    const first = await (await get("/v1/dead?limit=1&endpointId=ep_1")).json<{ data: { messageId: string }[]; next: string }>();
    const second = await (await get(`/v1/dead?limit=1&endpointId=ep_1&cursor=${first.next}`)).json<{ data: { messageId: string }[]; next: null }>();
    expect([...first.data, ...second.data].map((row) => row.messageId)).toEqual(["msg_2", "msg_0"]);
    expect(second.next).toBeNull();
    expect(await problem(await get("/v1/dead?since=now"))).toMatchObject({ status: 422, pointers: ["?since"] });
  });

  it("are opened again, stream by stream, oldest first", async () => {
    const { db, send, calls } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: [delivery(1, "ep_1", gaveUp), delivery(0, "ep_1", gaveUp)] });
    await write(db, { topic: "other", deliveries: [delivery(0, "ep_1", gaveUp)] });
    const response = await send("POST", "/v1/dead/replay", {});
    expect([response.status, await response.json()]).toEqual([202, { count: 3, more: false }]);
    expect(calls.find(({ call, stream }) => call === "reopen" && stream === STREAM)?.of).toEqual([0, 1].map((offset) => ({ offset, endpointId: "ep_1" })));
    expect(calls.filter(({ call }) => call === "flush").map(({ stream }) => stream).sort()).toEqual([STREAM, `${TENANT}/topics/other`]);
  });

  it("whose target is not an endpoint are opened again, also by that target", async () => {
    const { db, send, calls } = gateway();
    await write(db, { ...ofQueue("jobs"), deliveries: [delivery(0, "member", gaveUp)] });
    for (const body of [{}, { endpointId: "member", topic: "jobs" }]) {
      expect(await (await send("POST", "/v1/dead/replay", body)).json()).toEqual({ count: 1, more: false });
    }
    expect(await (await send("POST", "/v1/dead/replay", { endpointId: "node" })).json()).toEqual({ count: 0, more: false });
    expect(await problem(await send("POST", "/v1/dead/replay", { endpointId: "members" }))).toMatchObject({ status: 404 });
    expect(calls.filter(({ call }) => call === "reopen")).toHaveLength(2);
  });

  it("are only counted by a dry run", async () => {
    const { db, send, calls } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: [delivery(0, "ep_1", gaveUp), delivery(5, "ep_1", gaveUp)] });
    const body = { topic: "orders.completed", endpointId: "ep_1", since: toTime(T0 + 1), dryRun: true };
    expect(await (await send("POST", "/v1/dead/replay", body)).json()).toEqual({ count: 1, more: false });
    expect(calls).toEqual([]);
  });

  it("says that there is more than one call opens, and ends when nothing can be opened", async () => {
    const { db, send, streams, calls } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: Array.from({ length: 10_001 }, (_, offset) => delivery(offset, "ep_1", gaveUp)) });
    expect(await (await send("POST", "/v1/dead/replay", {})).json()).toEqual({ count: 10_000, more: true });
    expect(calls.filter(({ call }) => call === "reopen")).toHaveLength(10);
    streams.opens = false;
    expect(await (await send("POST", "/v1/dead/replay", {})).json()).toEqual({ count: 0, more: false });
  });

  it.each([[{ since: "monday" }, "/since"], [{ dryRun: "yes" }, "/dryRun"], [{ topic: "a..b" }, "/topic"], [{ all: true }, "/all"]])(
    "answers 422 to a replay of %j",
    async (body, pointer) => {
      expect(await problem(await gateway().send("POST", "/v1/dead/replay", body))).toEqual({ status: 422, code: "invalid-request", pointers: [pointer] });
    },
  );

  it("answers 404 to a replay for an endpoint of another tenant", async () => {
    const { db, send } = gateway();
    await addEndpoint(db, "ep_theirs", "ten_b");
    expect(await problem(await send("POST", "/v1/dead/replay", { endpointId: "ep_theirs" }))).toMatchObject({ status: 404 });
  });
});

describe("the history of an endpoint", () => {
  it("lists its attempts with the delivery they belong to", async () => {
    const { db, get } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: [delivery(0, "ep_1"), delivery(1, "ep_1")], attempts: [attempt(0, "ep_1", FAILURE), attempt(1, "ep_1")] });
    const { data } = await (await get("/v1/endpoints/ep_1/attempts?status=failed")).json<{ data: Record<string, unknown>[] }>();
    expect(data).toMatchObject([{ messageId: "msg_0", endpointId: "ep_1", topic: "orders.completed", statusCode: 500, error: "status: answered 500" }]);
    expect(data[0]?.["deliveryId"]).toMatch(/^dlv_[a-z2-7]{10}_0_1$/);
    const page = await (await get("/v1/endpoints/ep_1/attempts?limit=1")).json<{ data: { messageId: string }[]; next: string }>();
    const rest = await (await get(`/v1/endpoints/ep_1/attempts?limit=1&cursor=${page.next}`)).json<{ data: { messageId: string }[] }>();
    expect([...page.data, ...rest.data].map((row) => row.messageId)).toEqual(["msg_1", "msg_0"]);
  });

  it("counts over time", async () => {
    const { db, get } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: [delivery(0, "ep_1"), delivery(1, "ep_1")], attempts: [attempt(0, "ep_1", FAILURE), attempt(1, "ep_1")] });
    const query = "since=2026-11-17T09:00:00Z&until=2026-11-17T09:02:00Z&interval=minute";
    expect(await (await get(`/v1/endpoints/ep_1/stats?${query}`)).json()).toEqual({
      since: "2026-11-17T09:00:00.000Z",
      until: "2026-11-17T09:02:00.000Z",
      interval: "minute",
      attempts: 2,
      succeeded: 1,
      failed: 1,
      successRate: 0.5,
      durationMs: { p50: 40, p95: 40 },
      buckets: [
        { time: "2026-11-17T09:00:00.000Z", succeeded: 1, failed: 1 },
        { time: "2026-11-17T09:01:00.000Z", succeeded: 0, failed: 0 },
      ],
    });
  });

  it("covers the last day by the hour when nothing else is asked for", async () => {
    const { db, get } = gateway();
    await addEndpoint(db, "ep_1");
    const body = await (await get("/v1/endpoints/ep_1/stats")).json<{ attempts: number; successRate: null; buckets: unknown[] }>();
    expect(body).toMatchObject({ attempts: 0, successRate: null });
    expect([24, 25]).toContain(body.buckets.length);
  });

  it.each([
    ["GET", "/v1/endpoints/ep_1/stats?since=2026-01-01T00:00:00Z&until=2026-11-01T00:00:00Z&interval=minute", undefined, "?interval"],
    ["GET", "/v1/endpoints/ep_1/stats?interval=week", undefined, "?interval"],
    ["GET", "/v1/endpoints/ep_1/attempts?status=ok", undefined, "?status"],
    ["POST", "/v1/endpoints/ep_1/recover", {}, "/since"],
    ["POST", "/v1/endpoints/ep_1/recover", { since: toTime(T0), until: toTime(T0 - 1) }, "/until"],
  ])("answers 422 to %s %s %j", async (method, path, body, pointer) => {
    const { db, send } = gateway();
    await addEndpoint(db, "ep_1");
    expect(await problem(await send(method, path, body))).toEqual({ status: 422, code: "invalid-request", pointers: [pointer] });
  });

  it("recovers the dead deliveries of a time", async () => {
    const { db, send, calls } = gateway();
    for (const id of ["ep_1", "ep_2"]) await addEndpoint(db, id);
    const gone = { status: "dead" } as const;
    await write(db, { deliveries: [0, 1, 2, 3].map((offset) => delivery(offset, "ep_1", gone)).concat(delivery(1, "ep_2", gone)) });
    const period = { since: toTime(T0 + 1000), until: toTime(T0 + 3000) };
    expect(await (await send("POST", "/v1/endpoints/ep_1/recover", { ...period, dryRun: true })).json()).toEqual({ count: 2, more: false });
    expect(calls).toEqual([]);
    const response = await send("POST", "/v1/endpoints/ep_1/recover", period);
    expect([response.status, await response.json()]).toEqual([202, { count: 2, more: false }]);
    expect(calls[0]?.of).toEqual([1, 2].map((offset) => ({ offset, endpointId: "ep_1" })));
  });

  it("counts in a dry run what would be opened, without the messages that their stream no longer has", async () => {
    const { db, send, calls, streams } = gateway();
    await addEndpoint(db, "ep_1");
    await write(db, { deliveries: [0, 1, 2, 3].map((offset) => delivery(offset, "ep_1", { status: "dead" })) });
    streams.earliestOffset = 3;
    for (const dryRun of [true, false]) {
      const response = await send("POST", "/v1/endpoints/ep_1/recover", { since: toTime(T0), dryRun });
      expect(await response.json()).toEqual({ count: 1, more: false });
    }
    expect(calls[0]?.of).toEqual([{ offset: 3, endpointId: "ep_1" }]);
  });

  it("I7: of another tenant's endpoint is 404, exactly as of none", async () => {
    const { db, send } = gateway();
    await addEndpoint(db, "ep_theirs", "ten_b");
    await write(db, { tenantId: "ten_b", deliveries: [delivery(0, "ep_theirs")], attempts: [attempt(0, "ep_theirs")] });
    for (const [method, path, body] of [["GET", "attempts"], ["GET", "stats"], ["POST", "recover", { since: toTime(T0) }]] as const) {
      const theirs = await send(method, `/v1/endpoints/ep_theirs/${path}`, body);
      const none = await send(method, `/v1/endpoints/ep_none/${path}`, body);
      expect(theirs.status).toBe(404);
      expect(await theirs.text()).toBe(await none.text());
    }
  });
});

describe("GET /v1/stats", () => {
  it("totals the tenant", async () => {
    const { db, get } = gateway(["read"], "ten_stats");
    await addEndpoint(db, "ep_1", "ten_stats");
    await write(db, { tenantId: "ten_stats", messages: [message(0, { timeMs: Date.now() - 10 })], deliveries: [delivery(0, "ep_1", { status: "dead" })] });
    expect(await (await get("/v1/stats")).json()).toMatchObject({
      endpoints: { active: 1, paused: 0, disabled: 0 },
      messages: { lastHour: 1, lastDay: 1 },
      deliveries: { open: 0, dead: 1 },
      attempts: { lastHour: { succeeded: 0, failed: 0 } },
    });
  });
});

describe("scopes", () => {
  const reads = ["/v1/messages", "/v1/messages/x", "/v1/messages/x/content", "/v1/messages/x/deliveries", "/v1/dead", "/v1/endpoints/x/attempts", "/v1/endpoints/x/stats", "/v1/stats"];
  const changes = [
    ["POST", "/v1/messages/x/resend"], ["DELETE", "/v1/messages/x/content"], ["POST", "/v1/dead/replay"], ["POST", "/v1/endpoints/x/recover"],
  ] as const;
  it.each(reads)("GET %s needs `read`", async (path) => {
    expect(await problem(await gateway(["manage", "publish"]).get(path))).toMatchObject({ status: 403, code: "missing-scope" });
  });
  it.each(changes)("%s %s needs `manage`", async (method, path) => {
    expect(await problem(await gateway(["read", "publish"]).send(method, path))).toMatchObject({ status: 403, code: "missing-scope" });
  });
});
