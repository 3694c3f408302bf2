import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { parseConfig } from "../../src/config.ts";
import { CACHE_MAX_AGE_MS, untilCachesExpired } from "../../src/delivery/freshness.ts";
import { boxOfEndpoint, boxOfQueue } from "../../src/mailbox/box-of.ts";
import type { BoxMessage, Mailbox } from "../../src/mailbox/mailbox.ts";
import { openMailbox } from "../../src/mailbox/open-mailbox.ts";
import { topicKeys } from "../../src/messages/topic.ts";
import { disableEndpoint, findNodeEndpoint } from "../../src/storage/endpoints.ts";
import { findQueue, listQueueMembers } from "../../src/storage/queues.ts";
import { matchSubscriptions } from "../../src/storage/subscriptions.ts";
import { streamStub } from "../../src/streams/stub.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const OTHER_TENANT = "ten_other";
const WAIT = { timeout: 5_000, interval: 25 };
const DEFAULTS = { maxReceives: 5, retentionSeconds: 1_209_600 };

type Answer = { readonly status: number; readonly headers: Headers; readonly json: Record<string, unknown> };

async function call(
  method: string,
  path: string,
  body?: unknown,
  tenantId = "default",
  token = bindings.POSTERN_ADMIN_TOKEN,
): Promise<Answer> {
  const response = await exports.default.fetch(
    new Request(`http://gateway.test${path}`, {
      method,
      headers: {
        authorization: `Bearer ${token}`,
        "postern-tenant": tenantId,
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    }),
  );
  const text = await response.text();
  const json = text === "" ? {} : z.record(z.string(), z.unknown()).parse(JSON.parse(text));
  return { status: response.status, headers: response.headers, json };
}

async function createEndpoint(fields: Record<string, unknown> = {}, tenantId?: string): Promise<string> {
  const { status, json } = await call("POST", "/v1/endpoints", { kind: "push", url: "https://hooks.example.com/in", ...fields }, tenantId);
  expect({ status, json }).toMatchObject({ status: 201 });
  return z.string().parse(json["id"]);
}

/** An endpoint that is never pushed to: what waits for it stays where it can be counted. */
function createPullEndpoint(fields: Record<string, unknown> = {}, tenantId?: string): Promise<string> {
  return createEndpoint({ kind: "pull", url: null, ...fields }, tenantId);
}

function pointersOf(answer: Answer): unknown {
  return z.array(z.object({ pointer: z.string() })).parse(answer.json["errors"]).map((error) => error.pointer);
}

function mailbox(): Mailbox {
  return openMailbox(env, parseConfig(env));
}

function boxOf(name: string, maxReceives = DEFAULTS.maxReceives) {
  return boxOfQueue({ tenantId: "default", name, ...DEFAULTS, maxReceives });
}

function boxMessage(queue: string, offset: number): BoxMessage {
  return {
    id: `msg_${offset}`,
    topic: `${queue}/run`,
    stream: `default/queues/${queue}`,
    offset,
    timeMs: Date.now(),
    contentType: "text/plain",
    attributes: {},
    body: new TextEncoder().encode("hello"),
  };
}

/** Puts a message into the stream of a queue or node, as a publisher would. */
async function append(address: string, target: string): Promise<void> {
  const stream = `default/${address}`;
  const message = {
    id: `msg_${crypto.randomUUID()}`,
    deduplicate: false,
    contentType: "text/plain",
    attributes: {},
    traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    body: new Uint8Array(),
    method: "run",
  };
  expect(await streamStub(env.STREAMS, stream).append(stream, [{ message, endpointIds: [target] }])).toMatchObject({ ok: true });
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES (?, 'other', 0)").bind(OTHER_TENANT).run();
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe("PUT /v1/queues/{queue}", () => {
  it("creates a queue with the defaults, and then changes what it names and nothing else", async () => {
    const created = await call("PUT", "/v1/queues/made", {});
    expect(created).toMatchObject({ status: 201, json: { queue: "made", topics: [], ...DEFAULTS } });
    expect(created.headers.get("location")).toBe("/v1/queues/made");

    const bound = await call("PUT", "/v1/queues/made", { topics: ["orders.*", "orders.*", "a.b"], maxReceives: 3 });
    expect(bound).toMatchObject({ status: 200, json: { topics: ["a.b", "orders.*"], maxReceives: 3, retentionSeconds: 1_209_600 } });
    const kept = await call("PUT", "/v1/queues/made", { retentionSeconds: 60 });
    expect(kept).toMatchObject({ status: 200, json: { topics: ["a.b", "orders.*"], maxReceives: 3, retentionSeconds: 60 } });
    expect(kept.json["createdAt"]).toBe(created.json["createdAt"]);

    expect(await matchSubscriptions(env.DB, "default", topicKeys("orders.created"))).toMatchObject({
      boundQueues: [{ queue: "made", topic: "orders.*" }],
    });
    expect((await call("PUT", "/v1/queues/made", { topics: [] })).json["topics"]).toEqual([]);
    expect((await matchSubscriptions(env.DB, "default", topicKeys("orders.created"))).boundQueues).toEqual([]);
  });

  it.each([
    ["/v1/queues/a%20b", {}, 400, ["path:queue"]],
    ["/v1/queues/a..b", {}, 400, ["path:queue"]],
    [`/v1/queues/${"a".repeat(129)}`, {}, 400, ["path:queue"]],
    ["/v1/queues/bad", { topics: ["ok", "a b"] }, 400, ["/topics/1"]],
    ["/v1/queues/bad", { maxReceives: 0 }, 422, ["/maxReceives"]],
    ["/v1/queues/bad", { maxReceives: 1001 }, 422, ["/maxReceives"]],
    ["/v1/queues/bad", { maxReceives: 1.5 }, 422, ["/maxReceives"]],
    ["/v1/queues/bad", { retentionSeconds: 59 }, 422, ["/retentionSeconds"]],
    ["/v1/queues/bad", { retentionSeconds: 1_209_601 }, 422, ["/retentionSeconds"]],
    ["/v1/queues/bad", { topic: "a" }, 422, ["/topic"]],
  ])("refuses %s with %j", async (path, body, status, pointers) => {
    const answer = await call("PUT", path, body);
    expect([answer.status, pointersOf(answer)]).toEqual([status, pointers]);
    expect(await findQueue(env.DB, "default", "bad")).toBeNull();
  });

  it.each([
    ["manage", { put: 201, get: 200, purge: 204 }],
    ["read", { put: 403, get: 200, purge: 403 }],
    ["consume", { put: 403, get: 403, purge: 403 }],
  ])("lets a token with the scope %s do what that scope is for", async (scope, expected) => {
    await call("PUT", "/v1/queues/scoped", {});
    const token = z.string().parse((await call("POST", "/v1/tokens", { name: scope, scopes: [scope] })).json["token"]);
    const statusOf = async (method: string, path: string, body?: unknown) =>
      (await call(method, path, body, "default", token)).status;
    expect({
      put: await statusOf("PUT", `/v1/queues/by-${scope}`, {}),
      get: await statusOf("GET", "/v1/queues/scoped"),
      purge: await statusOf("POST", "/v1/queues/scoped/purge"),
    }).toEqual(expected);
  });
});

describe("members", () => {
  it("make a queue that does not exist, and bind their pattern to it", async () => {
    const id = await createPullEndpoint({ topics: ["members.*"], queue: "implicit" });
    expect(await findQueue(env.DB, "default", "implicit")).toMatchObject({ name: "implicit", topics: [], ...DEFAULTS });
    expect(await listQueueMembers(env.DB, "default", "implicit")).toEqual([{ endpointId: id, kind: "pull", status: "active" }]);
    expect((await matchSubscriptions(env.DB, "default", topicKeys("members.a"))).subscriptions).toMatchObject([{ queue: "implicit" }]);
  });

  it("keep the settings of a queue that exists", async () => {
    await call("PUT", "/v1/queues/kept", { maxReceives: 9, topics: ["kept.a"] });
    await createPullEndpoint({ topics: ["kept.b"], queue: "kept" });
    expect(await findQueue(env.DB, "default", "kept")).toMatchObject({ maxReceives: 9, topics: ["kept.a"] });
  });

  it("may subscribe to no topic: then they get the queue's own messages alone", async () => {
    const id = await createPullEndpoint({ queue: "commands-only" });
    expect(await listQueueMembers(env.DB, "default", "commands-only")).toMatchObject([{ endpointId: id }]);
    expect((await call("GET", `/v1/endpoints/${id}`)).json["topics"]).toEqual([]);
    const { json } = await call("GET", `/v1/subscriptions?endpointId=${id}`);
    expect(json["data"]).toMatchObject([{ endpointId: id, topic: null, filter: null, queue: "commands-only" }]);
  });

  it("are counted once, however many of their subscriptions name the queue", async () => {
    const id = await createPullEndpoint({ topics: ["once.a", "once.b"], queue: "once" });
    await call("POST", "/v1/subscriptions", { endpointId: id, topic: null, queue: "once" });
    expect(await listQueueMembers(env.DB, "default", "once")).toHaveLength(1);
  });

  it("come and go by PATCH of the endpoint", async () => {
    const id = await createPullEndpoint({ topics: ["patched.a"] });
    const queueOf = async () => (await call("GET", `/v1/subscriptions?endpointId=${id}`)).json["data"];
    await call("PATCH", `/v1/endpoints/${id}`, { queue: "patched" });
    expect(await queueOf()).toMatchObject([{ topic: "patched.a", queue: "patched" }]);

    await call("PATCH", `/v1/endpoints/${id}`, { topics: [], queue: "patched" });
    expect(await queueOf()).toMatchObject([{ topic: null, queue: "patched" }]);
    await call("PATCH", `/v1/endpoints/${id}`, { topics: [] });
    expect(await queueOf()).toMatchObject([{ topic: null, queue: "patched" }]);

    await call("PATCH", `/v1/endpoints/${id}`, { topics: ["patched.b"], queue: "patched-2", filter: { a: ["b"] } });
    expect(await queueOf()).toMatchObject([{ topic: "patched.b", queue: "patched-2", filter: { a: ["b"] } }]);
    await call("PATCH", `/v1/endpoints/${id}`, { queue: null });
    expect(await queueOf()).toMatchObject([{ topic: "patched.b", queue: null }]);
    expect(await listQueueMembers(env.DB, "default", "patched")).toEqual([]);
    expect(await listQueueMembers(env.DB, "default", "patched-2")).toEqual([]);
  });

  it("come and go by their subscriptions", async () => {
    const id = await createPullEndpoint();
    const created = await call("POST", "/v1/subscriptions", { endpointId: id, queue: "by-subscription" });
    expect(created).toMatchObject({ status: 201, json: { topic: null, queue: "by-subscription" } });
    const path = `/v1/subscriptions/${String(created.json["id"])}`;
    expect(await call("PATCH", path, { topic: "x.y", filter: { a: ["b"] } })).toMatchObject({ status: 200, json: { topic: "x.y" } });
    const filtered = await call("PATCH", path, { topic: null });
    expect([filtered.status, pointersOf(filtered)]).toEqual([422, ["/filter"]]);
    expect((await call("PATCH", path, { topic: null, filter: null })).json).toMatchObject({ topic: null, queue: "by-subscription" });
    const nothing = await call("PATCH", path, { queue: null });
    expect([nothing.status, pointersOf(nothing)]).toEqual([422, ["/topic"]]);
    expect((await call("DELETE", path)).status).toBe(204);
    expect(await listQueueMembers(env.DB, "default", "by-subscription")).toEqual([]);
  });

  it.each([
    [{}, 422, ["/topic"]],
    [{ queue: "q", filter: { a: ["b"] } }, 422, ["/filter"]],
    [{ queue: "a/b" }, 400, ["/queue"]],
    [{ topic: "a", queue: "a#b" }, 400, ["/queue"]],
  ])("are refused with %j", async (fields, status, pointers) => {
    const endpointId = await createPullEndpoint();
    const answer = await call("POST", "/v1/subscriptions", { endpointId, ...fields });
    expect([answer.status, pointersOf(answer)]).toEqual([status, pointers]);
  });

  it("leave with their endpoint, and the queue stays", async () => {
    const id = await createPullEndpoint({ queue: "left" });
    expect((await call("DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
    expect(await listQueueMembers(env.DB, "default", "left")).toEqual([]);
    expect(await findQueue(env.DB, "default", "left")).not.toBeNull();
  });

  it("have a node name as an address of their own", async () => {
    const id = await createPullEndpoint({ node: "berlin.printer-1" });
    expect(await findNodeEndpoint(env.DB, "default", "berlin.printer-1")).toEqual({ endpointId: id, kind: "pull", status: "active" });
    expect(await findNodeEndpoint(env.DB, OTHER_TENANT, "berlin.printer-1")).toBeNull();
    expect(await findNodeEndpoint(env.DB, "default", "berlin")).toBeNull();
  });
});

describe("GET /v1/queues", () => {
  it("shows settings, members and what waits", async () => {
    await call("PUT", "/v1/queues/shown", { topics: ["shown.*"], maxReceives: 2 });
    const id = await createPullEndpoint({ queue: "shown" });
    expect(await call("GET", "/v1/queues/shown")).toMatchObject({
      status: 200,
      json: {
        queue: "shown",
        topics: ["shown.*"],
        maxReceives: 2,
        retentionSeconds: 1_209_600,
        members: [{ endpointId: id, kind: "pull", status: "active" }],
        depth: 0,
        oldestAgeSeconds: null,
        inFlight: 0,
        dead: 0,
      },
    });
    await mailbox().send(boxOf("shown", 2), [boxMessage("shown", 1), boxMessage("shown", 2), boxMessage("shown", 3)]);
    await mailbox().receive(boxOf("shown", 2), { max: 1, waitSeconds: 0, visibilitySeconds: 300 });
    const { json } = await call("GET", "/v1/queues/shown");
    expect(json).toMatchObject({ depth: 3, inFlight: 1, dead: 0, oldestAgeSeconds: expect.any(Number) });
  });

  it("lists by name, page by page, each queue once, with its members", async () => {
    const names = ["page-a", "page-b", "page-c", "page-d", "page-e"];
    for (const name of names.toReversed()) await call("PUT", `/v1/queues/${name}`, {}, OTHER_TENANT);
    const id = await createPullEndpoint({ queue: "page-b" }, OTHER_TENANT);
    const Listed = z.object({ queue: z.string(), members: z.array(z.object({ endpointId: z.string() })), depth: z.number().nullable() });
    const seen: z.infer<typeof Listed>[] = [];
    let cursor = "";
    for (let page = 0; page < 10; page++) {
      const { json } = await call("GET", `/v1/queues?limit=2${cursor}`, undefined, OTHER_TENANT);
      const { data, next } = z.object({ data: z.array(Listed), next: z.string().nullable() }).parse(json);
      expect(data.length).toBeLessThanOrEqual(2);
      seen.push(...data);
      if (next === null) break;
      cursor = `&cursor=${next}`;
    }
    expect(seen.map(({ queue }) => queue)).toEqual(names);
    expect(seen[1]).toMatchObject({ members: [{ endpointId: id }], depth: 0 });
    expect((await call("GET", "/v1/queues?cursor=abc")).status).toBe(400);
  });

  it.each([
    ["GET", ""],
    ["DELETE", ""],
    ["POST", "/purge"],
    ["POST", "/redrive"],
  ])("answers %s %s of an unknown queue with 404, of a malformed name with 400", async (method, path) => {
    const unknown = await call(method, `/v1/queues/nobody${path}`);
    expect([unknown.status, unknown.json["type"]]).toEqual([404, expect.stringMatching(/unknown-queue$/)]);
    const malformed = await call(method, `/v1/queues/no%23body${path}`);
    expect([malformed.status, malformed.json["type"]]).toEqual([400, expect.stringMatching(/malformed-target$/)]);
  });

  it("I7: answers for another tenant's queue exactly as for none", async () => {
    await call("PUT", "/v1/queues/theirs", {});
    for (const [method, path] of [["GET", ""], ["DELETE", ""], ["POST", "/purge"], ["POST", "/redrive"]] as const) {
      const foreign = await call(method, `/v1/queues/theirs${path}`, undefined, OTHER_TENANT);
      const none = await call(method, `/v1/queues/nobody${path}`, undefined, OTHER_TENANT);
      expect({ ...foreign.json, instance: "" }).toEqual({ ...none.json, instance: "" });
    }
    const mine = await call("PUT", "/v1/queues/theirs", { maxReceives: 7 }, OTHER_TENANT);
    expect(mine.status).toBe(201);
    expect(await findQueue(env.DB, "default", "theirs")).toMatchObject({ maxReceives: 5 });
  });
});

describe("DELETE /v1/queues/{queue}", () => {
  it("deletes a queue with its bindings and messages, once no isolate can still believe in it", async () => {
    await call("PUT", "/v1/queues/gone", { topics: ["gone.*"] });
    await mailbox().send(boxOf("gone"), [boxMessage("gone", 1)]);
    let committedAtMs = Number.POSITIVE_INFINITY;
    const batch = env.DB.batch.bind(env.DB);
    const database: D1Database = Object.getPrototypeOf(env.DB);
    vi.spyOn(database, "batch").mockImplementation(async <T>(statements: D1PreparedStatement[]) => {
      const results = await batch<T>(statements);
      committedAtMs = Math.min(committedAtMs, Date.now());
      return results;
    });
    expect((await call("DELETE", "/v1/queues/gone")).status).toBe(204);
    expect(Date.now() - committedAtMs).toBeGreaterThanOrEqual(CACHE_MAX_AGE_MS);
    vi.restoreAllMocks();

    expect((await call("GET", "/v1/queues/gone")).status).toBe(404);
    expect((await matchSubscriptions(env.DB, "default", topicKeys("gone.a"))).boundQueues).toEqual([]);
    await call("PUT", "/v1/queues/gone", {});
    expect((await call("GET", "/v1/queues/gone")).json).toMatchObject({ topics: [], depth: 0 });
  });

  it("ends its members' subscriptions with it, and refuses that where it is to be unused, naming them", async () => {
    const id = await createPullEndpoint({ topics: ["used.a"], queue: "used" });
    const other = await call("POST", "/v1/subscriptions", { endpointId: id, topic: "used.b" });
    const refused = await call("DELETE", "/v1/queues/used?ifUnused=true");
    expect(refused.status).toBe(409);
    expect(refused.json["detail"]).toContain(id);
    expect((await call("DELETE", "/v1/queues/used?ifUnused=maybe")).status).toBe(422);
    expect(await listQueueMembers(env.DB, "default", "used")).toHaveLength(1);

    expect((await call("DELETE", "/v1/queues/used")).status).toBe(204);
    const left = (await call("GET", `/v1/subscriptions?endpointId=${id}`)).json["data"];
    expect(left).toMatchObject([{ id: other.json["id"], topic: "used.b", queue: null }]);
  });
});

describe("deleting a tenant", () => {
  it("takes its queues, bindings and memberships along", async () => {
    await call("POST", "/v1/tenants", { id: "ten-brief", name: "brief" });
    await call("PUT", "/v1/queues/q", { topics: ["a.*"] }, "ten-brief");
    await createPullEndpoint({ queue: "q" }, "ten-brief");
    expect((await call("DELETE", "/v1/tenants/ten-brief")).status).toBe(204);
    for (const table of ["queues", "queue_topics", "subscriptions"]) {
      const { results } = await env.DB.prepare(`SELECT 1 FROM ${table} WHERE tenant_id = 'ten-brief'`).all();
      expect({ table, rows: results.length }).toEqual({ table, rows: 0 });
    }
  });
});

describe("POST …/purge and …/redrive", () => {
  it("drops what waits in the mailbox and in the stream, and no dead letter", async () => {
    await call("PUT", "/v1/queues/purged", { maxReceives: 1 });
    const box = boxOf("purged", 1);
    await mailbox().send(box, [boxMessage("purged", 1)]);
    await receiveUntilDead(box);
    answerWith(500);
    await createEndpoint({ queue: "purged" });
    await append("queues/purged", "member");
    await vi.waitUntil(async () => (await call("GET", "/v1/queues/purged")).json["depth"] === 1);
    await mailbox().send(box, [boxMessage("purged", 2)]);
    expect((await call("GET", "/v1/queues/purged")).json).toMatchObject({ depth: 2, dead: 1 });

    expect((await call("POST", "/v1/queues/purged/purge")).status).toBe(204);
    expect((await call("GET", "/v1/queues/purged")).json).toMatchObject({ depth: 0, oldestAgeSeconds: null, dead: 1 });
    const stream = "default/queues/purged";
    await streamStub(env.STREAMS, stream).flushHistory(stream);
    expect(await env.DB.prepare("SELECT status FROM deliveries WHERE stream = ?").bind(stream).first("status")).toBe("cancelled");
  });

  it("puts dead letters of mailbox and stream back into the queue", async () => {
    await call("PUT", "/v1/queues/redriven", { maxReceives: 1 });
    const box = boxOf("redriven", 1);
    await mailbox().send(box, [boxMessage("redriven", 1)]);
    await receiveUntilDead(box);
    await append("queues/redriven", "member");
    const stream = "default/queues/redriven";
    // history hears of the message once it is in the mailbox
    await vi.waitUntil(() => env.DB.prepare("SELECT 1 FROM message_packs WHERE stream = ?").bind(stream).first(), WAIT);
    await env.DB.prepare(
      `INSERT INTO deliveries (tenant_id, message_time, stream, offset, endpoint_id, message_id, topic, status, updated_at)
       SELECT tenant_id, time, stream, first_offset, 'member', 'msg_1', topic, 'dead', time FROM message_packs WHERE stream = ?`,
    ).bind(stream).run();
    expect((await call("GET", "/v1/queues/redriven")).json).toMatchObject({ dead: 2 });

    const redriven = await call("POST", "/v1/queues/redriven/redrive");
    expect(redriven).toMatchObject({ status: 202, json: { count: 2, more: false } });
    await vi.waitUntil(async () => (await call("GET", "/v1/queues/redriven")).json["dead"] === 0);
    expect(await call("POST", "/v1/queues/redriven/redrive")).toMatchObject({ json: { count: 0, more: false } });
  });
});

describe("what waits", () => {
  it("in a queue's mailbox is pushed once there is a member to push to", async () => {
    await call("PUT", "/v1/queues/recalled", {});
    await append("queues/recalled", "member");
    await waitingIn("recalled", 1);
    const requests = answerWith(204);
    await createEndpoint({ queue: "recalled", url: "https://hooks.example.com/recalled" });
    await vi.waitUntil(() => requests.length > 0, WAIT);
    expect(requests).toEqual(["https://hooks.example.com/recalled"]);
    await waitingIn("recalled", 0);
  });

  it.each([
    ["is resumed", "resume", "pause"],
    ["is enabled", "enable", "disable"],
  ])("in a queue's mailbox is pushed when its member %s", async (_what, action, before) => {
    const queue = `recalled-by-${action}`;
    const url = `https://hooks.example.com/${action}`;
    const id = await createEndpoint({ queue, url });
    if (before === "pause") await call("POST", `/v1/endpoints/${id}/pause`);
    else await disableEndpoint(env.DB, { id, tenantId: "default" }, "answered 410", Date.now());
    await untilCachesExpired(Date.now());
    await append(`queues/${queue}`, "member");
    await waitingIn(queue, 1);
    const requests = answerWith(204);
    expect((await call("POST", `/v1/endpoints/${id}/${action}`)).status).toBe(200);
    await vi.waitUntil(() => requests.length > 0, WAIT);
    expect(requests).toEqual([url]);
  });

  it("for its next attempt goes into the mailbox when the last push member leaves", async () => {
    const requests = answerWith(500);
    const id = await createEndpoint({ queue: "abandoned", retrySchedule: [3600] });
    await append("queues/abandoned", "member");
    await vi.waitUntil(() => requests.length > 0, WAIT);
    expect((await mailbox().depth(boxOf("abandoned")))).toMatchObject({ visible: 0 });
    await call("PATCH", `/v1/endpoints/${id}`, { queue: null });
    await vi.waitUntil(async () => {
      const depth = await mailbox().depth(boxOf("abandoned"));
      return depth.ok && depth.visible === 1;
    }, WAIT);
  });

  it.each([
    ["is created", async (url: string, node: string) => void (await createEndpoint({ url, node }))],
    [
      "is given the name",
      async (url: string, node: string) => {
        const id = await createEndpoint({ url });
        expect((await call("PATCH", `/v1/endpoints/${id}`, { node })).status).toBe(200);
      },
    ],
  ])("for a node is delivered when an endpoint %s", async (_what, appear) => {
    const node = `late-${crypto.randomUUID()}`;
    const stream = `default/nodes/${node}`;
    await append(`nodes/${node}`, "node");
    await vi.waitUntil(async () => {
      await streamStub(env.STREAMS, stream).flushHistory(stream);
      return (await env.DB.prepare("SELECT reason FROM deliveries WHERE stream = ?").bind(stream).first("reason")) !== null;
    }, WAIT);
    const requests = answerWith(204);
    const url = `https://hooks.example.com/${node}`;
    await appear(url, node);
    await vi.waitUntil(() => requests.length > 0, WAIT);
    expect(requests).toEqual([url]);
  });
});

describe("dead letters of a mailbox", () => {
  it("are pushed when they are put back and the queue has a push member by now", async () => {
    await call("PUT", "/v1/queues/revived", { maxReceives: 1 });
    await append("queues/revived", "member");
    await waitingIn("revived", 1);
    await receiveUntilDead(boxOf("revived", 1));
    const requests = answerWith(204);
    await createEndpoint({ queue: "revived", url: "https://hooks.example.com/revived" });
    expect((await call("POST", "/v1/queues/revived/redrive")).json).toMatchObject({ count: 1 });
    await vi.waitUntil(() => requests.length > 0, WAIT);
    expect(requests).toEqual(["https://hooks.example.com/revived"]);
  });
});

describe("the audit log", () => {
  it("has every change of a queue", async () => {
    await call("PUT", "/v1/queues/audited", {});
    await call("PUT", "/v1/queues/audited", { maxReceives: 2 });
    await call("POST", "/v1/queues/audited/purge");
    await call("POST", "/v1/queues/audited/redrive");
    await call("DELETE", "/v1/queues/audited");
    const { results } = await env.DB.prepare("SELECT action FROM audit WHERE target = 'audited' ORDER BY id").all();
    expect(results.map((row) => row["action"])).toEqual([
      "queue.create", "queue.update", "queue.purge", "queue.redrive", "queue.delete",
    ]);
  });
});

describe("an endpoint's mailbox", () => {
  it("is removed with the endpoint", async () => {
    const id = await createPullEndpoint();
    const box = boxOfEndpoint({ id, tenantId: "default", ordered: false });
    await mailbox().send(box, [boxMessage("q", 1)]);
    expect(await mailbox().depth(box)).toMatchObject({ visible: 1 });
    expect((await call("DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
    await vi.waitUntil(async () => {
      const depth = await mailbox().depth(box);
      return depth.ok && depth.visible === 0;
    });
  });
});

/** Answers every request of the gateway with this status; the URLs asked for so far. */
function answerWith(status: number): string[] {
  const requests: string[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (target, init) => {
    requests.push(new Request(target, init).url);
    return new Response(null, { status });
  });
  return requests;
}

/** Waits until the queue's mailbox holds so many messages. */
async function waitingIn(queue: string, visible: number): Promise<void> {
  await vi.waitUntil(async () => {
    const depth = await mailbox().depth(boxOf(queue));
    return depth.ok && depth.visible === visible && depth.inFlight === 0;
  }, WAIT);
}

async function receiveUntilDead(box: ReturnType<typeof boxOf>): Promise<void> {
  await mailbox().receive(box, { max: 10, waitSeconds: 0, visibilitySeconds: 0 });
  await vi.waitUntil(async () => {
    await mailbox().receive(box, { max: 10, waitSeconds: 0, visibilitySeconds: 0 });
    const depth = await mailbox().depth(box);
    return depth.ok && depth.dead === 1;
  });
}
