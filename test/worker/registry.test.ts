import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { Webhook } from "standardwebhooks";
import { afterEach, beforeAll, describe, expect, it, vi } from "vitest";
import { z } from "zod";
import { createKeyRing, type RingKey, sealingKeyId } from "../../src/crypto/keyring.ts";
import { CACHE_MAX_AGE_MS } from "../../src/delivery/freshness.ts";
import { openDeliveryEndpoint } from "../../src/delivery/open-endpoint.ts";
import { releaseEndpoint } from "../../src/delivery/release.ts";
import { topicKeys } from "../../src/messages/topic.ts";
import { deleteExpiredSecrets } from "../../src/storage/endpoint-secrets.ts";
import { disableEndpoint, findDeliveryEndpoints, setEndpointHealth } from "../../src/storage/endpoints.ts";
import { reencryptBatch } from "../../src/storage/reencrypt.ts";
import { matchSubscriptions } from "../../src/storage/subscriptions.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);
const URL_OF_HOOK = "https://hooks.example.com/in";
const OTHER_TENANT = "ten_other";
const RING_KEYS: readonly RingKey[] = [{ id: "test", key: new Uint8Array(32).fill(7) }];
const NEW_KEY: RingKey = { id: "new", key: new Uint8Array(32).fill(9) };
const NOTHING_MATCHES = { subscriptions: [], boundQueues: [] };
const FAR_FUTURE_MS = Date.now() + 1e9;

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

async function createEndpoint(fields: Record<string, unknown> = {}, tenantId?: string): Promise<{ id: string; secret: string }> {
  const { status, json } = await call("POST", "/v1/endpoints", { kind: "push", url: URL_OF_HOOK, ...fields }, tenantId);
  expect({ status, json }).toMatchObject({ status: 201 });
  return z.object({ id: z.string(), secret: z.string() }).parse(json);
}

function pointersOf(answer: Answer): unknown {
  return z.array(z.object({ pointer: z.string() })).parse(answer.json["errors"]).map((error) => error.pointer);
}

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await env.DB.prepare("INSERT INTO tenants (id, name, created_at) VALUES (?, 'other', 0)").bind(OTHER_TENANT).run();
});

afterEach(() => {
  vi.restoreAllMocks();
});

describe("endpoints", () => {
  it("shows the secret at creation and at /secret only, and no header value anywhere", async () => {
    const created = await call("POST", "/v1/endpoints", {
      kind: "push",
      url: URL_OF_HOOK,
      topics: ["orders.*", "orders.completed", "orders.*"],
      headers: { "X-Api-Key": "hunter2" },
      metadata: { team: "billing" },
    });
    expect(created.status).toBe(201);
    const id = String(created.json["id"]);
    expect(created.headers.get("location")).toBe(`/v1/endpoints/${id}`);
    expect(created.json["secret"]).toMatch(/^whsec_/);

    const shown = await call("GET", `/v1/endpoints/${id}`);
    const { secret, ...rest } = created.json;
    expect(shown.json).toEqual(rest);
    expect(shown.json).toMatchObject({
      id,
      kind: "push",
      status: "active",
      disabledReason: null,
      topics: ["orders.*", "orders.completed"],
      headers: { "x-api-key": "***" },
      timeoutSeconds: 15,
      metadata: { team: "billing" },
    });
    expect((await call("GET", `/v1/endpoints/${id}/secret`)).json).toEqual({ secret });

    const stored = JSON.stringify([
      (await env.DB.prepare("SELECT * FROM endpoints").all()).results,
      (await env.DB.prepare("SELECT * FROM endpoint_secrets").all()).results,
      (await env.DB.prepare("SELECT * FROM audit").all()).results,
    ]);
    expect(stored).not.toContain("hunter2");
    expect(stored).not.toContain(String(secret).slice("whsec_".length));
  });

  it("shows the filter and queue that its subscriptions have alike, as they were given and as they are now", async () => {
    const wishes = { topics: ["a.*", "b"], filter: { size: [{ numeric: [">", 1] }] }, filterScope: "body", queue: "sizes" };
    const created = await call("POST", "/v1/endpoints", { kind: "push", url: URL_OF_HOOK, ...wishes });
    expect(created.json).toMatchObject(wishes);
    const id = String(created.json["id"]);
    expect((await call("GET", `/v1/endpoints/${id}`)).json).toMatchObject(wishes);
    const changed = await call("PATCH", `/v1/endpoints/${id}`, { filter: { size: [1] }, queue: null });
    expect(changed.json).toMatchObject({ ...wishes, filter: { size: [1] }, filterScope: "attributes", queue: null });

    await call("POST", "/v1/subscriptions", { endpointId: id, topic: "c", queue: "others" });
    const mixed = await call("GET", "/v1/endpoints");
    expect(mixed.json["data"]).toContainEqual(expect.objectContaining({ id, filter: null, queue: null, topics: ["a.*", "b", "c"] }));
  });

  it.each([
    [{ url: "https://169.254.169.254/latest" }, 422, ["/url"]],
    [{ url: undefined }, 422, ["/url"]],
    [{ kind: "pull" }, 422, ["/url"]],
    [{ topics: ["a", "b c"] }, 400, ["/topics/1"]],
    [{ node: "a/b" }, 400, ["/node"]],
    [{ filter: { a: ["b"] } }, 422, ["/filter"]],
    [{ topics: ["a"], filter: { a: "b" } }, 422, ["/filter/a"]],
    [{ headers: { "x-a": "***" } }, 422, ["/headers/x-a"]],
    [{ timeoutSeconds: 99 }, 422, ["/timeoutSeconds"]],
    [{ colour: "red" }, 422, ["/colour"]],
  ])("refuses %j with %i", async (fields, status, pointers) => {
    const answer = await call("POST", "/v1/endpoints", { kind: "push", url: URL_OF_HOOK, ...fields });
    expect(answer.status).toBe(status);
    expect(answer.headers.get("content-type")).toBe("application/problem+json");
    expect(pointersOf(answer)).toEqual(pointers);
  });

  it("lets a node name be one endpoint's in a tenant, whatever other tenants have", async () => {
    const { id } = await createEndpoint({ node: "printer-1" });
    const second = await call("POST", "/v1/endpoints", { kind: "push", url: URL_OF_HOOK, node: "printer-1" });
    expect(second).toMatchObject({ status: 409, json: { type: expect.stringMatching(/conflict$/) } });
    const other = await createEndpoint({ node: "printer-1" }, OTHER_TENANT);
    const free = await createEndpoint({ node: "printer-2" });
    expect((await call("PATCH", `/v1/endpoints/${free.id}`, { node: "printer-1" })).status).toBe(409);
    expect((await call("GET", "/v1/endpoints?node=printer-1")).json["data"]).toMatchObject([{ id }]);
    expect((await call("GET", "/v1/endpoints?node=printer-1", undefined, OTHER_TENANT)).json["data"]).toMatchObject([{ id: other.id }]);
  });

  it("I7: answers for another tenant's endpoint exactly as for none", async () => {
    const { id } = await createEndpoint();
    const requests = (of: string): [string, string, unknown?][] => [
      ["GET", `/v1/endpoints/${of}`],
      ["PATCH", `/v1/endpoints/${of}`, { name: "mine" }],
      ["DELETE", `/v1/endpoints/${of}`],
      ["GET", `/v1/endpoints/${of}/secret`],
      ["POST", `/v1/endpoints/${of}/secret/rotate`, {}],
      ["POST", `/v1/endpoints/${of}/pause`],
      ["POST", `/v1/endpoints/${of}/resume`],
      ["POST", `/v1/endpoints/${of}/enable`],
      ["POST", `/v1/endpoints/${of}/test`, {}],
      ["POST", "/v1/subscriptions", { endpointId: of, topic: "a" }],
    ];
    for (const [index, [method, path, body]] of requests(id).entries()) {
      const [, pathOfNone, bodyOfNone] = requests("ep_none")[index] ?? ["", "", ""];
      const foreign = await call(method, path, body, OTHER_TENANT);
      const none = await call(method, pathOfNone, bodyOfNone, OTHER_TENANT);
      expect(foreign.status).toBe(404);
      expect({ path, ...foreign.json, status: foreign.status, instance: "" }).toEqual({ path, ...none.json, status: none.status, instance: "" });
    }
    expect((await call("GET", `/v1/endpoints/${id}`)).json).toMatchObject({ id, name: null, status: "active" });
    expect((await call("GET", `/v1/subscriptions?endpointId=${id}`, undefined, OTHER_TENANT)).json["data"]).toEqual([]);
  });

  it.each([
    ["manage", { list: 200, secret: 200, pause: 200 }],
    ["read", { list: 200, secret: 403, pause: 403 }],
    ["publish", { list: 403, secret: 403, pause: 403 }],
  ])("lets a token with the scope %s do what that scope is for", async (scope, expected) => {
    const { id } = await createEndpoint();
    const made = await call("POST", "/v1/tokens", { name: scope, scopes: [scope] });
    const token = z.string().parse(made.json["token"]);
    const statusOf = async (method: string, path: string) => (await call(method, path, undefined, "default", token)).status;
    expect({
      list: await statusOf("GET", "/v1/endpoints"),
      secret: await statusOf("GET", `/v1/endpoints/${id}/secret`),
      pause: await statusOf("POST", `/v1/endpoints/${id}/pause`),
    }).toEqual(expected);
  });

  it("changes what a PATCH names and nothing else", async () => {
    const { id } = await createEndpoint({ name: "a", headers: { "x-a": "1", "x-b": "2" }, topics: ["a", "b"], filter: { c: ["d"] } });
    const [before] = z.array(z.object({ id: z.string() })).parse((await call("GET", `/v1/subscriptions?endpointId=${id}&topic=b`)).json["data"]);
    const patched = await call("PATCH", `/v1/endpoints/${id}`, {
      description: "new",
      headers: { "x-b": "***", "x-c": "3" },
      topics: ["b", "c"],
      retrySchedule: [],
    });
    expect(patched).toMatchObject({
      status: 200,
      json: { name: "a", description: "new", headers: { "x-b": "***", "x-c": "***" }, topics: ["b", "c"], retrySchedule: [] },
    });
    const subscriptions = (await call("GET", `/v1/subscriptions?endpointId=${id}`)).json["data"];
    expect(subscriptions).toMatchObject([
      { topic: "c", filter: null },
      { id: before?.id, topic: "b", filter: { c: ["d"] } },
    ]);
    const [row] = await findDeliveryEndpoints(env.DB, [id]);
    if (row === undefined) throw new Error("the endpoint is gone");
    expect((await openDeliveryEndpoint(row, createKeyRing(RING_KEYS))).headers).toEqual({ "x-b": "2", "x-c": "3" });

    expect((await call("PATCH", `/v1/endpoints/${id}`, { filter: { e: ["f"] }, queue: "q" })).status).toBe(200);
    expect((await call("GET", `/v1/subscriptions?endpointId=${id}`)).json["data"]).toMatchObject([
      { topic: "c", filter: { e: ["f"] }, queue: "q" },
      { topic: "b", filter: { e: ["f"] }, queue: "q" },
    ]);
  });

  it.each([
    [{ url: null }, 422, ["/url"]],
    [{ url: "http://localhost/" }, 422, ["/url"]],
    [{ topics: [".."] }, 400, ["/topics/0"]],
    [{ filterScope: "body" }, 422, ["/filterScope"]],
    [{ headers: { "x-z": "***" } }, 422, ["/headers/x-z"]],
  ])("refuses the PATCH %j with %i", async (fields, status, pointers) => {
    const { id } = await createEndpoint();
    const answer = await call("PATCH", `/v1/endpoints/${id}`, fields);
    expect(answer.status).toBe(status);
    expect(pointersOf(answer)).toEqual(pointers);
  });

  it("lists newest first, page by page, each endpoint once", async () => {
    const node = (index: number) => `list-${index}`;
    for (let index = 0; index < 5; index++) await createEndpoint({ node: node(index) }, OTHER_TENANT);
    const seen: unknown[] = [];
    let cursor = "";
    for (let page = 0; page < 10; page++) {
      const { json } = await call("GET", `/v1/endpoints?limit=2${cursor}`, undefined, OTHER_TENANT);
      const { data, next } = z.object({ data: z.array(z.object({ node: z.string().nullable() })), next: z.string().nullable() }).parse(json);
      expect(data.length).toBeLessThanOrEqual(2);
      seen.push(...data.map((endpoint) => endpoint.node));
      if (next === null) break;
      cursor = `&cursor=${next}`;
    }
    expect(seen.filter((name) => String(name).startsWith("list-"))).toHaveLength(5);
    expect(new Set(seen).size).toBe(seen.length);
  });

  it("I5: acknowledges a deletion only when no isolate can still believe in the endpoint", async () => {
    const { id } = await createEndpoint({ topics: ["gone"] });
    let committedAtMs = Number.POSITIVE_INFINITY;
    const batch = env.DB.batch.bind(env.DB);
    const database: D1Database = Object.getPrototypeOf(env.DB);
    vi.spyOn(database, "batch").mockImplementation(async <T>(statements: D1PreparedStatement[]) => {
      const results = await batch<T>(statements);
      committedAtMs = Math.min(committedAtMs, Date.now());
      return results;
    });
    expect((await call("DELETE", `/v1/endpoints/${id}`)).status).toBe(204);
    expect(Date.now() - committedAtMs).toBeGreaterThanOrEqual(CACHE_MAX_AGE_MS);
    vi.restoreAllMocks();

    expect(await findDeliveryEndpoints(env.DB, [id])).toEqual([]);
    expect(await matchSubscriptions(env.DB, "default", topicKeys("gone"))).toEqual(NOTHING_MATCHES);
    const secrets = await env.DB.prepare("SELECT id FROM endpoint_secrets WHERE endpoint_id = ?").bind(id).all();
    expect(secrets.results).toEqual([]);
    expect((await call("DELETE", `/v1/endpoints/${id}`)).status).toBe(404);
  });

  it("pauses, resumes and enables, and doing it twice changes nothing", async () => {
    const { id } = await createEndpoint();
    const transit = async (action: string) => (await call("POST", `/v1/endpoints/${id}/${action}`)).json["status"];
    expect(await transit("resume")).toBe("active");
    expect(await transit("pause")).toBe("paused");
    expect(await transit("pause")).toBe("paused");
    expect(await transit("enable")).toBe("paused");
    expect(await transit("resume")).toBe("active");

    await setEndpointHealth(env.DB, id, 1000);
    await setEndpointHealth(env.DB, id, 2000);
    expect(await findDeliveryEndpoints(env.DB, [id])).toMatchObject([{ failing_since: 1000 }]);
    expect(await disableEndpoint(env.DB, { id, tenantId: "default" }, "answered 410", Date.now())).toBe(true);
    expect(await disableEndpoint(env.DB, { id, tenantId: "default" }, "again", Date.now())).toBe(false);
    expect((await call("GET", `/v1/endpoints/${id}`)).json).toMatchObject({ status: "disabled", disabledReason: "answered 410" });
    expect((await call("GET", "/v1/endpoints?status=disabled")).json["data"]).toMatchObject([{ id }]);
    expect(await transit("pause")).toBe("disabled");
    expect(await transit("resume")).toBe("disabled");
    expect(await transit("enable")).toBe("active");
    expect(await findDeliveryEndpoints(env.DB, [id])).toMatchObject([{ failing_since: null, disabled_reason: null }]);

    const { results } = await env.DB.prepare("SELECT action FROM audit WHERE target = ? ORDER BY action").bind(id).all();
    expect(results.map((row) => row["action"])).toEqual([
      "endpoint.create", "endpoint.disable", "endpoint.enable", "endpoint.pause", "endpoint.resume",
    ]);
  });
});

describe("signing secrets", () => {
  it("lets both secrets sign during the overlap, the new one first", async () => {
    const { id, secret } = await createEndpoint();
    const rotated = await call("POST", `/v1/endpoints/${id}/secret/rotate`, { overlapSeconds: 3600 });
    expect(rotated.status).toBe(200);
    expect(rotated.json["secret"]).not.toBe(secret);
    expect((await call("GET", `/v1/endpoints/${id}/secret`)).json["secret"]).toBe(rotated.json["secret"]);
    const expiresAtMs = Date.parse(String(rotated.json["previousExpiresAt"]));
    expect(expiresAtMs - Date.now()).toBeGreaterThan(3_590_000);

    const request = await sentByTest(id);
    const signatures = String(request.headers["webhook-signature"]).split(" ");
    expect(signatures).toHaveLength(2);
    for (const [index, value] of [String(rotated.json["secret"]), secret].entries()) {
      const headers = { ...request.headers, "webhook-signature": signatures[index] ?? "" };
      expect(new Webhook(value).verify(request.body, headers)).toMatchObject({ type: "postern.test" });
    }

    expect(await findDeliveryEndpoints(env.DB, [id], expiresAtMs)).toMatchObject([{ secrets: [{ expires_at: null }] }]);
    expect(await deleteExpiredSecrets(env.DB, expiresAtMs - 1)).toBe(0);
    expect(await deleteExpiredSecrets(env.DB, expiresAtMs)).toBe(1);
  });

  it("ends the old secret at once when there is to be no overlap", async () => {
    const { id } = await createEndpoint();
    const chosen = `whsec_${btoa("c".repeat(32))}`;
    const rotated = await call("POST", `/v1/endpoints/${id}/secret/rotate`, { secret: chosen, overlapSeconds: 0 });
    expect(rotated.json["secret"]).toBe(chosen);
    expect((await findDeliveryEndpoints(env.DB, [id]))[0]?.secrets).toHaveLength(1);
  });

  it("keeps at most five, dropping the oldest", async () => {
    const { id } = await createEndpoint();
    for (let count = 0; count < 7; count++) await call("POST", `/v1/endpoints/${id}/secret/rotate`, {});
    const current = (await call("GET", `/v1/endpoints/${id}/secret`)).json["secret"];
    const [row] = await findDeliveryEndpoints(env.DB, [id]);
    expect(row?.secrets).toHaveLength(5);
    const first = row?.secrets[0];
    expect(first?.expires_at).toBeNull();
    expect(await createKeyRing(RING_KEYS).open(first?.sealed ?? "", `default/${first?.id}`)).toBe(current);
  });
});

describe("the test action", () => {
  it("sends one signed example and returns the attempt", async () => {
    const { id, secret } = await createEndpoint({ topics: ["orders.*", "orders.completed"], headers: { "x-api-key": "k" } });
    const request = await sentByTest(id, { data: { total: 5 } }, 201, "ok");
    expect(request.url).toBe(URL_OF_HOOK);
    expect(request.headers).toMatchObject({ "postern-topic": "orders.completed", "x-api-key": "k", "content-type": "application/json" });
    expect(new Webhook(secret).verify(request.body, request.headers)).toEqual({ total: 5 });
    expect(request.attempt).toMatchObject({ statusCode: 201, ok: true, error: null, responseBody: "ok", id: expect.stringMatching(/^att_/) });
  });

  it("reports a failure as an attempt that failed", async () => {
    const { id } = await createEndpoint();
    const { attempt } = await sentByTest(id, {}, 500, "no");
    expect(attempt).toMatchObject({ statusCode: 500, ok: false, error: expect.stringMatching(/^status: /) });
  });

  it("refuses a pull endpoint and a malformed topic", async () => {
    const { id } = await createEndpoint({ kind: "pull", url: null });
    expect((await call("POST", `/v1/endpoints/${id}/test`, {})).status).toBe(409);
    const push = await createEndpoint();
    const answer = await call("POST", `/v1/endpoints/${push.id}/test`, { topic: "a.*" });
    expect([answer.status, pointersOf(answer)]).toEqual([400, ["/topic"]]);
  });
});

describe("subscriptions", () => {
  it("makes, changes and ends one", async () => {
    const { id: endpointId } = await createEndpoint();
    const created = await call("POST", "/v1/subscriptions", { endpointId, topic: "sub.*", filter: { a: ["b"] }, queue: "q" });
    expect(created).toMatchObject({
      status: 201,
      json: { endpointId, topic: "sub.*", filter: { a: ["b"] }, filterScope: "attributes", queue: "q" },
    });
    const path = `/v1/subscriptions/${String(created.json["id"])}`;
    expect(created.headers.get("location")).toBe(path);
    expect((await call("GET", path)).json).toEqual(created.json);
    expect((await matchSubscriptions(env.DB, "default", topicKeys("sub.made"))).subscriptions).toMatchObject([
      { endpointId, topic: "sub.*", filter: '{"a":["b"]}', filterScope: "attributes", queue: "q", status: "active", kind: "push" },
    ]);
    expect(await matchSubscriptions(env.DB, OTHER_TENANT, topicKeys("sub.made"))).toEqual(NOTHING_MATCHES);

    const patched = await call("PATCH", path, { topic: "other.**", filter: null, queue: null });
    expect(patched.json).toEqual({ ...created.json, topic: "other.**", filter: null, queue: null });
    expect(await matchSubscriptions(env.DB, "default", topicKeys("sub.made"))).toEqual(NOTHING_MATCHES);
    expect((await matchSubscriptions(env.DB, "default", topicKeys("other.x.y"))).subscriptions).toHaveLength(1);

    for (const method of ["GET", "PATCH", "DELETE"]) {
      expect((await call(method, path, method === "PATCH" ? {} : undefined, OTHER_TENANT)).status).toBe(404);
    }
    expect((await call("DELETE", path)).status).toBe(204);
    expect((await call("GET", path)).status).toBe(404);
  });

  it("refuses a filter that does not compile, in the scope it will have", async () => {
    const { id: endpointId } = await createEndpoint();
    const nested = { order: { country: ["DE"] } };
    const refused = await call("POST", "/v1/subscriptions", { endpointId, topic: "a", filter: nested });
    expect(refused.status).toBe(422);
    expect(pointersOf(refused)).toEqual([expect.stringMatching(/^\/filter\/order/)]);
    const created = await call("POST", "/v1/subscriptions", { endpointId, topic: "a", filter: nested, filterScope: "body" });
    expect(created.status).toBe(201);
    const path = `/v1/subscriptions/${String(created.json["id"])}`;
    expect((await call("PATCH", path, { filterScope: "attributes" })).status).toBe(422);
    expect((await call("PATCH", path, { filterScope: "attributes", filter: { country: ["DE"] } })).status).toBe(200);
    const malformed = await call("PATCH", path, { topic: "a..b" });
    expect([malformed.status, pointersOf(malformed)]).toEqual([400, ["/topic"]]);
  });
});

describe("releaseEndpoint", () => {
  it("tells every stream with open deliveries, one that fails again, and that stops no other", { timeout: 20_000 }, async () => {
    const { id } = await createEndpoint();
    const insert = env.DB.prepare(
      `INSERT INTO deliveries (tenant_id, message_time, stream, offset, endpoint_id, message_id, topic, status, updated_at)
       VALUES ('default', 1, ?, ?, ?, 'msg_1', 't', ?, 1)`,
    );
    await env.DB.batch([
      insert.bind("default/topics/a", 1, id, "open"),
      insert.bind("default/topics/a", 2, id, "open"),
      insert.bind("default/topics/b", 1, id, "open"),
      insert.bind("default/topics/c", 1, id, "dead"),
      insert.bind("default/topics/d", 1, "ep_another", "open"),
    ]);
    const told: string[] = [];
    const STREAMS = {
      getByName: () => ({
        release: async (stream: string, endpointId: string) => {
          told.push(`${stream} ${endpointId}`);
          if (stream === "default/topics/a" && told.filter((one) => one.startsWith(stream)).length < 3) throw new Error("overloaded");
          return 1;
        },
      }),
    };
    vi.spyOn(console, "warn").mockImplementation(() => undefined);
    await releaseEndpoint({ DB: env.DB, STREAMS: z.custom<Cloudflare.Env["STREAMS"]>().parse(STREAMS) }, "default", id);
    expect(told.filter((stream) => stream === `default/topics/b ${id}`)).toHaveLength(1);
    expect(told.filter((stream) => stream === `default/topics/a ${id}`).length).toBeGreaterThan(1);
    expect(new Set(told)).toEqual(new Set([`default/topics/a ${id}`, `default/topics/b ${id}`]));
  });
});

describe("reencryptBatch", () => {
  it("seals everything under a new active key, so that the old one can go", async () => {
    const { id, secret } = await createEndpoint({ headers: { "x-a": "1" } });
    const both = createKeyRing([NEW_KEY, ...RING_KEYS]);
    while ((await reencryptBatch(env.DB, both, 3)) > 0);
    const { results } = await env.DB.prepare(
      "SELECT sealed AS value FROM endpoint_secrets UNION ALL SELECT headers FROM endpoints WHERE headers IS NOT NULL",
    ).all();
    expect(new Set(results.map((row) => sealingKeyId(String(row["value"]))))).toEqual(new Set(["new"]));

    const [row] = await findDeliveryEndpoints(env.DB, [id], FAR_FUTURE_MS);
    if (row === undefined) throw new Error("the endpoint is gone");
    const onlyNew = createKeyRing([NEW_KEY]);
    expect((await openDeliveryEndpoint(row, onlyNew)).headers).toEqual({ "x-a": "1" });
    expect(await onlyNew.open(row.secrets[0]?.sealed ?? "", `default/${row.secrets[0]?.id}`)).toBe(secret);

    // back, for the gateway of these tests has only the first key
    while ((await reencryptBatch(env.DB, createKeyRing([...RING_KEYS, NEW_KEY]), 100)) > 0);
  });

  it("leaves alone what was changed meanwhile", async () => {
    const { id } = await createEndpoint({ headers: { "x-a": "1" } });
    const inner = createKeyRing([NEW_KEY, ...RING_KEYS]);
    const changed = await inner.seal(JSON.stringify({ "x-a": "2" }), `default/${id}`);
    const racing = {
      ...inner,
      seal: async (text: string, context: string) => {
        await env.DB.prepare("UPDATE endpoints SET headers = ? WHERE id = ?").bind(changed, id).run();
        return inner.seal(text, context);
      },
    };
    await reencryptBatch(env.DB, racing, 1000);
    expect(await findDeliveryEndpoints(env.DB, [id])).toMatchObject([{ headers: changed }]);
    while ((await reencryptBatch(env.DB, createKeyRing([...RING_KEYS, NEW_KEY]), 100)) > 0);
  });

  it("does the others and then says so when a value can not be opened", async () => {
    const { id } = await createEndpoint({ headers: { "x-a": "1" } });
    const lost = await createKeyRing([{ id: "lost", key: new Uint8Array(32) }]).seal("{}", `default/${id}`);
    await env.DB.prepare("UPDATE endpoints SET headers = ? WHERE id = ?").bind(lost, id).run();
    const other = await createEndpoint();
    await expect(reencryptBatch(env.DB, createKeyRing([NEW_KEY, ...RING_KEYS]), 1000)).rejects.toThrow(/^1 sealed values can not be opened/);
    const [row] = await findDeliveryEndpoints(env.DB, [other.id]);
    expect(sealingKeyId(row?.secrets[0]?.sealed ?? "")).toBe("new");
    await env.DB.prepare("UPDATE endpoints SET headers = NULL WHERE id = ?").bind(id).run();
    while ((await reencryptBatch(env.DB, createKeyRing([...RING_KEYS, NEW_KEY]), 100)) > 0);
  });
});

type Sent = {
  readonly url: string;
  readonly headers: Record<string, string>;
  readonly body: string;
  readonly attempt: Record<string, unknown>;
};

/** Has the endpoint tested, answers the request in the subscriber's place, and returns both. */
async function sentByTest(id: string, input: unknown = {}, status = 204, text: string | null = null): Promise<Sent> {
  const sent: Omit<Sent, "attempt">[] = [];
  vi.spyOn(globalThis, "fetch").mockImplementation(async (target, init) => {
    // read and made here: streams do not leave the request they belong to
    const request = new Request(target, init);
    sent.push({ url: request.url, headers: Object.fromEntries(request.headers), body: await request.text() });
    return new Response(text, { status });
  });
  const answer = await call("POST", `/v1/endpoints/${id}/test`, input);
  expect(answer).toMatchObject({ status: 200 });
  expect(sent).toHaveLength(1);
  const [request] = sent;
  if (request === undefined) throw new Error("nothing was sent");
  return { ...request, attempt: answer.json };
}
