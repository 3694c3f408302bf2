import { beforeAll, describe, expect, it, vi } from "vitest";
import { MAX_FILTER_BYTES, MAX_PER_KEY } from "../../../src/http/fan-out.ts";
import { CEILINGS } from "../../../src/http/room.ts";
import type { Counted } from "../../../src/storage/limits.ts";
import { bodyOf, openGateway } from "../http/gateway.ts";

const gateway = openGateway({
  STREAMS: { getByName: () => ({ ping: async () => "pong", retain: async () => undefined }) },
  DURABLE_STREAMS: { getByName: () => ({ create: async () => ({ ok: true, created: true, info: { incarnation: "i", contentType: "a/b", closed: false, tail: 0 } }) }) },
});

type Row = { readonly table: string; readonly columns: string; readonly values: string; readonly ask: () => Promise<Response>; readonly again?: () => Promise<Response> };

const post = (path: string, json: object) => () => gateway.send("POST", path, { tenant: "full", json });
const put = (path: string, json: object) => () => gateway.send("PUT", path, { tenant: "full", json });
/** How each is filled (`n` counts), and how one more is asked for; `again` is about one that is there. */
const ROWS: Readonly<Record<Counted, Row>> = {
  endpoints: { table: "endpoints", columns: "id, tenant_id, kind, timeout_seconds, retry_schedule, created_at, updated_at", values: "'ep_' || n, 'full', 'pull', 1, '[]', 0, 0", ask: post("/v1/endpoints", { kind: "pull" }) },
  subscriptions: { table: "subscriptions", columns: "id, tenant_id, endpoint_id, topic, topic_key, created_at", values: "'sub_' || n, 'full', 'ep_1', 'a', 'a', 0", ask: post("/v1/subscriptions", { endpointId: "ep_1", topic: "a" }) },
  queues: { table: "queues", columns: "tenant_id, name, created_at, updated_at", values: "'full', 'q' || n, 0, 0", ask: put("/v1/queues/more", {}), again: put("/v1/queues/q1", {}) },
  topics: { table: "topics", columns: "tenant_id, name, retention_seconds, updated_at", values: "'full', 't' || n, 1000, 0", ask: put("/v1/topics/more", { retentionSeconds: 1000 }), again: put("/v1/topics/t1", { retentionSeconds: 1000 }) },
  sources: { table: "sources", columns: "id, tenant_id, kind, topic_arns, topic, created_at, updated_at", values: "'src_' || n, 'full', 'github', '[]', 'a', 0, 0", ask: post("/v1/sources", { kind: "github", topic: "a", secret: "a secret that is long" }) },
  tokens: { table: "tokens", columns: "id, tenant_id, name, hash, scopes, created_at", values: "'tok_' || n, 'full', 'n', n, '[]', 0", ask: post("/v1/tokens", { name: "n", scopes: ["read"] }) },
  consumers: { table: "consumer_offsets", columns: "tenant_id, consumer, stream, position, updated_at", values: "'full', 'c' || n, 'topics/a', 0, 0", ask: put("/v1/consumers/more/offsets/topics/a", { offset: 1 }), again: put("/v1/consumers/c1/offsets/topics/a", { offset: 1 }) },
  streams: { table: "own_streams", columns: "tenant_id, path, created_at", values: "'full', 's' || n, 0", ask: put("/v1/stream/more", {}), again: put("/v1/stream/s1", {}) },
};

beforeAll(async () => {
  vi.spyOn(console, "info").mockReturnValue(undefined);
  await gateway.send("POST", "/v1/tenants", { json: { id: "full" } });
});

describe("a tenant can not have without end", () => {
  it.each(Object.entries(ROWS) as [Counted, Row][])("%s: 422 beyond, and those that are there can be changed", async (what, { table, columns, values, ask, again }) => {
    const most = CEILINGS[what];
    gateway.sqlite.exec("PRAGMA foreign_keys = OFF");
    gateway.sqlite.exec(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${most}) INSERT INTO ${table} (${columns}) SELECT ${values} FROM c`);
    const refused = await ask();
    expect([refused.status, (await bodyOf(refused)).type]).toEqual([422, expect.stringMatching(/limit-reached$/)]);
    if (again !== undefined) expect((await again()).status).toBeLessThan(300);
    gateway.sqlite.exec(`DELETE FROM ${table} WHERE tenant_id = 'full'`);
  }, 30_000);
});

describe("what one message can cost is bounded when it is subscribed to", () => {
  const subscribe = (json: object) => gateway.send("POST", "/v1/subscriptions", { tenant: "wide", json: { endpointId: "ep_1", ...json } });

  beforeAll(async () => {
    await gateway.send("POST", "/v1/tenants", { json: { id: "wide" } });
    gateway.sqlite.exec("PRAGMA foreign_keys = OFF");
    gateway.sqlite.exec("INSERT INTO endpoints (id, tenant_id, kind, timeout_seconds, retry_schedule, created_at, updated_at) VALUES ('ep_1', 'wide', 'pull', 1, '[]', 0, 0)");
  });

  it("by how many subscriptions share a topic or the beginning of a pattern", async () => {
    gateway.sqlite.exec(`WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < ${MAX_PER_KEY})
      INSERT INTO subscriptions (id, tenant_id, endpoint_id, topic, topic_key, created_at) SELECT 'sub_' || n, 'wide', 'ep_1', 'a', '=a', 0 FROM c`);
    const refused = await subscribe({ topic: "a" });
    expect([refused.status, (await bodyOf(refused)).type]).toEqual([422, expect.stringMatching(/limit-reached$/)]);
    expect((await gateway.send("POST", "/v1/endpoints", { tenant: "wide", json: { kind: "pull", topics: ["b", "a"] } })).status).toBe(422);
    expect((await gateway.send("PATCH", "/v1/endpoints/ep_1", { tenant: "wide", json: { topics: ["a"] } })).status).toBe(422);
    const other = await subscribe({ topic: "a.*" });
    expect(other.status).toBe(201);
    expect((await gateway.send("PATCH", `/v1/subscriptions/${(await bodyOf(other)).id}`, { tenant: "wide", json: { topic: "a" } })).status).toBe(422);
  });

  it("by how much there is of filters", async () => {
    const filter = { name: Array.from({ length: 100 }, (_, index) => `${index}`.padEnd(200, "x")) };
    expect((await subscribe({ topic: "c", filter })).status).toBe(201);
    gateway.sqlite.exec(`INSERT INTO subscriptions (id, tenant_id, endpoint_id, topic, topic_key, filter, created_at)
      VALUES ('sub_large', 'wide', 'ep_1', 'd', '=d', printf('%.*c', ${MAX_FILTER_BYTES - 50_000}, 'x'), 0)`);
    vi.setSystemTime(Date.now() + 11_000); // a count that was far from the limit is believed for ten seconds
    const refused = await subscribe({ topic: "c", filter: { ...filter, other: filter.name } });
    expect([refused.status, (await bodyOf(refused)).type]).toEqual([422, expect.stringMatching(/limit-reached$/)]);
    expect((await subscribe({ topic: "c", filter: { name: ["a"] } })).status).toBe(201);
    expect((await subscribe({ topic: "c" })).status).toBe(201);
    vi.useRealTimers();
  });
});
