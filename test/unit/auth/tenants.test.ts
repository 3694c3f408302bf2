import { beforeEach, describe, expect, it, vi } from "vitest";
import { fullBucket, takeFrom } from "../../../src/http/token-bucket.ts";
import { bodyOf, makeToken, openGateway, type TestGateway } from "../http/gateway.ts";

let gateway: TestGateway;
let count = 0;
let tenant = "";
beforeEach(async () => {
  gateway = openGateway({ STREAMS: { getByName: () => ({ ping: async () => "pong", append, replay, reopen, describe: describeLog, flushHistory: async () => undefined }) } });
  for (const method of ["info", "warn"] as const) vi.spyOn(console, method).mockImplementation(() => undefined);
  vi.useFakeTimers({ toFake: ["Date", "setTimeout"] });
  tenant = `tenant-${++count}`; // what an isolate keeps by tenant must not reach from one test into the next
  await gateway.send("POST", "/v1/tenants", { json: { id: tenant } });
  return () => vi.useRealTimers();
});

/** A stream that takes everything. */
async function append(_name: string, messages: readonly { readonly message: { readonly id: string } }[]) {
  return { ok: true, appended: messages.map(({ message }, offset) => ({ id: message.id, offset, timeMs: 0, matched: 0, duplicate: false })) };
}

/** A topic of a hundred messages; what is replayed of it is kept here. */
const replayed: unknown[] = [];
async function replay(_name: string, request: { readonly jobId: string | null }) {
  if (request.jobId !== null) replayed.push(request);
  return { ok: true, count: 100, fromOffset: 0, untilOffset: 100 };
}

async function reopen(_name: string, refs: readonly unknown[]): Promise<number> {
  return refs.length;
}

async function describeLog() {
  return { earliestOffset: 0, nextOffset: 100, earliestTimeMs: null, bytes: 0 };
}

async function sendAndWait(...request: Parameters<TestGateway["send"]>): Promise<Response> {
  const answered = gateway.send(...request);
  await vi.waitFor(() => expect(vi.getTimerCount()).toBe(1));
  await vi.advanceTimersByTimeAsync(1_100);
  return answered;
}

async function limit(limits: Record<string, number | null>): Promise<void> {
  expect((await sendAndWait("PATCH", `/v1/tenants/${tenant}`, { json: { limits } })).status).toBe(200);
}

const publish = (token: string, body = "x"): Promise<Response> => gateway.send("POST", "/v1/events/orders", { token, body });

describe("changing a tenant", () => {
  it("changes what is sent, and nothing else", async () => {
    const none = { requestsPerSecond: null, publishPerSecond: null, endpoints: null, payloadBytes: null, replayMessages: null, replayJobs: null };
    expect(await bodyOf(await gateway.send("GET", `/v1/tenants/${tenant}`))).toMatchObject({ status: "active", limits: none });
    await limit({ endpoints: 2, payloadBytes: 100 });
    await limit({ endpoints: null, publishPerSecond: 5 });
    const named = await gateway.send("PATCH", `/v1/tenants/${tenant}`, { json: { name: "Acme Ltd" } });
    expect(await bodyOf(named)).toMatchObject({ id: tenant, name: "Acme Ltd", limits: { ...none, payloadBytes: 100, publishPerSecond: 5 } });
    const { data } = await bodyOf(await gateway.send("GET", "/v1/audit?operator=true"));
    expect(data.filter(({ action }) => action === "tenant.update")).toHaveLength(3);
  });

  it("refuses what is no limit, and a tenant that is not there", async () => {
    for (const limits of [{ endpoints: -1 }, { publishPerSecond: 0 }, { payloadBytes: 1.5 }, { pulls: 1 }, { endpoints: "2" }]) {
      expect((await gateway.send("PATCH", `/v1/tenants/${tenant}`, { json: { limits } })).status).toBe(422);
    }
    expect((await gateway.send("PATCH", "/v1/tenants/nowhere", { json: { name: "x" } })).status).toBe(404);
    expect((await gateway.send("POST", "/v1/tenants/nowhere/suspend")).status).toBe(404);
  });
});

describe("a suspended tenant", () => {
  it("is refused with every token, once that was acknowledged, until it is resumed; operators are not", async () => {
    const token = await makeToken(gateway, ["read", "publish", "admin"], tenant);
    expect((await gateway.send("GET", "/v1/endpoints", { token })).status).toBe(200);
    expect(await bodyOf(await sendAndWait("POST", `/v1/tenants/${tenant}/suspend`))).toMatchObject({ status: "suspended" });
    for (const [method, path] of [["GET", "/v1/endpoints"], ["POST", "/v1/events/orders"], ["GET", "/metrics"], ["POST", "/v1/tokens"]] as const) {
      const response = await gateway.send(method, path, { token });
      expect(response.status).toBe(403);
      expect((await bodyOf(response)).type).toMatch(/\/tenant-suspended$/);
    }
    expect((await gateway.send("GET", "/v1/endpoints", { tenant })).status).toBe(200);
    await sendAndWait("POST", `/v1/tenants/${tenant}/resume`);
    expect((await gateway.send("GET", "/v1/endpoints", { token })).status).toBe(200);
  });
});

describe("the limits of a tenant", () => {
  it("bound its endpoints: 422", async () => {
    await limit({ endpoints: 1 });
    const create = (): Promise<Response> => gateway.send("POST", "/v1/endpoints", { tenant, json: { kind: "pull" } });
    const { id } = await bodyOf(await create());
    const refused = await create();
    expect(refused.status).toBe(422);
    expect((await bodyOf(refused)).type).toMatch(/\/limit-reached$/);
    await sendAndWait("DELETE", `/v1/endpoints/${id}`, { tenant });
    expect((await create()).status).toBe(201);
  });

  it("bound a message's bytes: 413, in a batch too", async () => {
    const token = await makeToken(gateway, ["publish"], tenant);
    await limit({ payloadBytes: 10 });
    expect((await publish(token, "0123456789")).status).toBe(202);
    expect((await publish(token, "0123456789+")).status).toBe(413);
    const messages = [{ topic: "a", data: "x" }, { topic: "a", data: "0123456789+" }];
    expect((await gateway.send("POST", "/v1/batch", { token, json: { messages } })).status).toBe(413);
  });

  it("bound what it publishes in a second: 429 with Retry-After; reads go on", async () => {
    const token = await makeToken(gateway, ["publish", "read"], tenant);
    await limit({ publishPerSecond: 3 });
    const statuses: number[] = [];
    for (let message = 0; message < 4; message++) statuses.push((await publish(token)).status);
    expect(statuses).toEqual([202, 202, 202, 429]);
    const refused = await publish(token);
    expect(refused.headers.get("retry-after")).toBe("1");
    expect(refused.headers.get("ratelimit-policy")).toBe('"publish";q=3;w=1');
    expect(refused.headers.get("ratelimit")).toBe('"publish";r=0;t=1');
    expect((await gateway.send("GET", "/v1/endpoints", { token })).status).toBe(200);
    vi.setSystemTime(Date.now() + 1_000);
    expect((await publish(token)).status).toBe(202);
  });

  it("count the messages of a batch, which is taken whole and waited off afterwards", async () => {
    const token = await makeToken(gateway, ["publish"], tenant);
    await limit({ publishPerSecond: 10 });
    const messages = Array.from({ length: 40 }, () => ({ topic: "a", data: "x" }));
    expect((await gateway.send("POST", "/v1/batch", { token, json: { messages } })).status).toBe(202);
    expect((await publish(token)).headers.get("retry-after")).toBe("4");
  });

  it("bound what one replay delivers again: 422 beyond, but for counting", async () => {
    const { id } = await bodyOf(await gateway.send("POST", "/v1/endpoints", { tenant, json: { kind: "pull" } }));
    const ask = (dryRun: boolean): Promise<Response> => gateway.send("POST", `/v1/endpoints/${id}/replay`, { tenant, json: { topic: "orders", dryRun } });
    await limit({ replayMessages: 99 });
    const refused = await ask(false);
    expect([refused.status, (await bodyOf(refused)).type, replayed.length]).toEqual([422, expect.stringMatching(/limit-reached$/), 0]);
    expect((await ask(true)).status).toBe(202);
    await limit({ replayMessages: 100 });
    expect([(await ask(false)).status, replayed.length]).toEqual([202, 1]);
  });

  it("bound the replays that run: 429 beyond", async () => {
    const { id } = await bodyOf(await gateway.send("POST", "/v1/endpoints", { tenant, json: { kind: "pull" } }));
    await limit({ replayJobs: 1 });
    const ask = (): Promise<Response> => gateway.send("POST", `/v1/endpoints/${id}/replay`, { tenant, json: { topic: "orders" } });
    expect((await ask()).status).toBe(202);
    gateway.sqlite.prepare(
      `INSERT INTO jobs (tenant_id, id, kind, stream, endpoint_id, from_offset, until_offset, status, total, done, created_at, updated_at)
       VALUES (?, 'job_1', 'replay', 'x', 'y', 0, 1, 'running', 1, 0, 0, 0)`,
    ).run(tenant);
    const refused = await ask();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([429, "60"]);
    gateway.sqlite.exec("UPDATE jobs SET status = 'done'");
    expect((await ask()).status).toBe(202);
  });

  it("bound the dead deliveries that one request opens again; the rest is for the next", async () => {
    const { id } = await bodyOf(await gateway.send("POST", "/v1/endpoints", { tenant, json: { kind: "pull" } }));
    const insert = gateway.sqlite.prepare(
      "INSERT INTO deliveries (tenant_id, message_time, stream, offset, endpoint_id, message_id, topic, status, updated_at) VALUES (?, 1, ?, ?, ?, ?, 'orders', 'dead', 1)",
    );
    for (let offset = 0; offset < 5; offset++) insert.run(tenant, `${tenant}/topics/orders`, offset, id, `msg_${offset}`);
    await limit({ replayMessages: 3 });
    for (const [path, json] of [["/v1/dead/replay", {}], [`/v1/endpoints/${id}/recover`, { since: "1970-01-01T00:00:00Z" }]] as const) {
      expect(await (await gateway.send("POST", path, { tenant, json })).json()).toEqual({ count: 3, more: true });
    }
  });

  it("bound its requests, and its neighbours notice nothing", async () => {
    const token = await makeToken(gateway, ["read"], tenant);
    await limit({ requestsPerSecond: 2 });
    const statuses: number[] = [];
    for (let request = 0; request < 4; request++) statuses.push((await gateway.send("GET", "/v1/endpoints", { token })).status);
    expect(statuses).toEqual([200, 200, 429, 429]);
    expect((await gateway.send("GET", "/v1/endpoints")).status).toBe(200);
    expect((await gateway.send("GET", "/v1/tenants", { tenant })).status).toBe(200); // so that an operator can mend it
  });

  it("are in the headers of every answer, a refusal too", async () => {
    const token = await makeToken(gateway, ["read"], tenant);
    const answers = await Promise.all(["/v1/endpoints", "/v1/endpoints/none", "/v1/tokens"].map((path) => gateway.send("GET", path, { token })));
    expect(answers.map(({ status }) => status)).toEqual([200, 404, 403]);
    for (const { headers } of answers) {
      expect(headers.get("ratelimit-policy")).toBe('"requests";q=10000;w=1');
      expect(headers.get("ratelimit")).toMatch(/^"requests";r=999\d;t=1$/);
    }
  });
});

describe("a token bucket", () => {
  it("lets the rate through and no more, whatever the clock does", () => {
    const bucket = fullBucket(10, 0);
    let taken = 0;
    for (let nowMs = 0; nowMs < 10_000; nowMs += 7) if (takeFrom(bucket, 1, 10, nowMs).ok) taken++;
    expect(taken).toBeGreaterThanOrEqual(100);
    expect(taken).toBeLessThanOrEqual(111);
    expect(takeFrom(bucket, 1, 10, 0).ok).toBe(false); // a clock that went back gives nothing
  });

  it("gives what was owed only after as long as it takes", () => {
    const bucket = fullBucket(10, 0);
    expect(takeFrom(bucket, 500, 10, 0)).toEqual({ ok: true, remaining: 0 });
    expect(takeFrom(bucket, 1, 10, 1_000)).toEqual({ ok: false, retryAfterSeconds: 49 });
    expect(takeFrom(bucket, 1, 10, 50_000).ok).toBe(true);
  });

  it("shrinks to a limit that was lowered", () => {
    const bucket = fullBucket(1000, 0);
    expect(takeFrom(bucket, 1, 2, 0)).toEqual({ ok: true, remaining: 1 });
  });
});

describe("deleting a tenant", () => {
  it("leaves nothing of it in any table that knows tenants, but that its id is taken", async () => {
    const own = gateway.sqlite
      .prepare("SELECT m.name AS name FROM sqlite_schema m JOIN pragma_table_info(m.name) c ON c.name = 'tenant_id' WHERE m.type = 'table' AND m.name <> 'purges'")
      .all().map((row) => String(row["name"]));
    expect(own.length).toBeGreaterThan(12);
    for (const table of own) fill(table);
    const countOf = (table: string): unknown => gateway.sqlite.prepare(`SELECT count(*) AS n FROM ${table} WHERE tenant_id = ?`).get(tenant)?.["n"];
    for (const table of own) expect(countOf(table), table).toBe(1);
    expect((await sendAndWait("DELETE", `/v1/tenants/${tenant}`)).status).toBe(204);
    for (const table of own) expect(countOf(table), table).toBe(0);
    // what is to be removed elsewhere is noted until it is gone for good: test/unit/registry/purge-tenants.test.ts
    expect(countOf("purges")).toBeGreaterThan(0);
    expect((await gateway.send("POST", "/v1/tenants", { json: { id: tenant } })).status).toBe(409);
  });

  /** Puts a row of the tenant into a table, whatever its columns mean: constraints are not what this is about. */
  function fill(table: string): void {
    gateway.sqlite.exec("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON");
    const columns = gateway.sqlite.prepare("SELECT name, type, pk, \"notnull\" AS required FROM pragma_table_info(?)").all(table);
    const wanted = columns.filter((column) => column["required"] === 1 || Number(column["pk"]) > 0 || column["name"] === "tenant_id");
    const values = wanted.map((column) => (column["name"] === "tenant_id" ? tenant : column["type"] === "INTEGER" || column["type"] === "REAL" ? 1 : "x"));
    gateway.sqlite.prepare(`INSERT INTO ${table} (${wanted.map((column) => column["name"]).join(", ")}) VALUES (${values.map(() => "?").join(", ")})`).run(...values);
    gateway.sqlite.exec("PRAGMA foreign_keys = ON; PRAGMA ignore_check_constraints = OFF");
  }
});
