import { applyD1Migrations, type D1Migration } from "cloudflare:test";
import { env, exports } from "cloudflare:workers";
import { beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { pruneHistory } from "../../src/storage/history-prune.ts";
import { newId } from "../../src/ids.ts";
import { listAttempts } from "../../src/storage/history-attempts.ts";
import { openStreamsOfEndpoint } from "../../src/storage/history-read.ts";
import { writeHistory } from "../../src/storage/history-write.ts";
import { addEndpoint, attempt, batch, delivery, FAILURE, message, ofQueue, type Report, T0, TENANT, write } from "../unit/history/rows.ts";

/** What the tests' configuration binds beside what the Worker has. */
const bindings = z
  .object({ POSTERN_ADMIN_TOKEN: z.string(), TEST_MIGRATIONS: z.array(z.custom<D1Migration>()) })
  .parse(env);

const get = (path: string) =>
  exports.default.fetch(
    new Request(`https://postern.test${path}`, {
      headers: { authorization: `Bearer ${bindings.POSTERN_ADMIN_TOKEN}`, "postern-tenant": TENANT },
    }),
  );

const OFFSETS = Array.from({ length: 300 }, (_, offset) => offset);

beforeAll(async () => {
  await applyD1Migrations(env.DB, bindings.TEST_MIGRATIONS);
  await addEndpoint(env.DB, "ep_1");
  const report = batch({
    messages: OFFSETS.map((offset) => message(offset, { endpointIds: ["ep_1"] })),
    deliveries: OFFSETS.filter((offset) => offset % 3 === 0).map((offset) => delivery(offset, "ep_1", { status: "dead", reason: "exhausted" })),
    attempts: OFFSETS.map((offset) => attempt(offset, "ep_1", { responseBody: "€".repeat(1365), ...(offset % 3 === 0 ? FAILURE : {}) })),
  });
  await writeHistory(env.DB, report);
  await writeHistory(env.DB, report);
});

/** The database, with the rows counted that are billed as written: those of indexes too. */
function counting(db: D1Database): { readonly db: D1Database; readonly rowsWritten: () => number } {
  let rowsWritten = 0;
  const counted: Pick<D1Database, "prepare" | "batch"> = {
    prepare: (sql) => db.prepare(sql),
    batch: async <Row>(statements: D1PreparedStatement[]) => {
      const results = await db.batch<Row>(statements);
      for (const { meta } of results) rowsWritten += meta.rows_written;
      return results;
    },
  };
  return { db: counted as D1Database, rowsWritten: () => rowsWritten };
}

async function rowsWrittenBy(more: Partial<Report>): Promise<number> {
  const { db, rowsWritten } = counting(env.DB);
  await write(db, { tenantId: "ten_cost", ...more });
  return rowsWritten();
}

describe("what history costs in rows written", () => {
  const T1 = T0 - 24 * 60 * 60 * 1000;
  const ours = (offset: number) => message(offset, { id: newId("msg", T1 + offset), timeMs: T1 + offset, endpointIds: ["ep_1"], matched: 1 });
  const made = (offset: number) => attempt(offset, "ep_1", { startedAtMs: T1 + offset + 2, responseBody: "" });
  const offsets = (count: number) => Array.from({ length: count }, (_, index) => index + 1);

  it("is less than a tenth of a row for each of fifty messages that half a second brings, delivered at once", async () => {
    const fifty = offsets(50).map((offset) => offset * 10);
    const written = await rowsWrittenBy({ messages: fifty.map((time, index) => ({ ...ours(time), offset: index + 1 })), attempts: fifty.map(made) });
    expect(written).toBe(3);
  });

  it("is eight rows for a thousand messages of one batch", async () => {
    // of messages two packs with the topic each, of attempts two
    const thousand = offsets(1000).map((offset) => offset + 1000);
    expect(await rowsWrittenBy({ topic: "busy", messages: thousand.map(ours), attempts: thousand.map(made) })).toBeLessThanOrEqual(8);
  });

  it("is three rows for a message that comes alone", async () => {
    expect(await rowsWrittenBy({ topic: "quiet", messages: [ours(1)], attempts: [made(1)] })).toBe(3);
  });

  it("is one row more for an id that a publisher chose", async () => {
    const chosen = offsets(100).map((offset) => ({ ...ours(offset), id: `order-${offset}` }));
    expect(await rowsWrittenBy({ topic: "chosen", messages: chosen })).toBe(102);
  });

  it("is nothing for a batch that is written again", async () => {
    const again = batch({ tenantId: "ten_cost", topic: "again", messages: offsets(20).map(ours), attempts: offsets(20).map(made) });
    await writeHistory(env.DB, again);
    const { db, rowsWritten } = counting(env.DB);
    await writeHistory(db, again);
    expect(rowsWritten()).toBe(0);
  });
});

describe("history on D1", () => {
  it("is written in bulk, and once though reported twice", async () => {
    for (const table of ["message_packs", "attempt_packs"]) {
      expect(await env.DB.prepare(`SELECT sum(count) AS n FROM ${table} WHERE tenant_id = ?`).bind(TENANT).first("n")).toBe(OFFSETS.length);
    }
    expect(await env.DB.prepare("SELECT count(*) AS n FROM deliveries").first("n")).toBe(100);
    const [newest] = await listAttempts(env.DB, TENANT, "ep_1", {}, { after: undefined, limit: 1 });
    expect(newest).toMatchObject({ offset: 299, error: null, responseBody: "€".repeat(1365) });
  });

  it("is read over HTTP: messages, deliveries with attempts, dead letters, attempts and statistics", async () => {
    expect(await (await get("/v1/messages/msg_7")).json()).toMatchObject({ offset: 7, topic: "orders.completed", attributes: { region: "eu" } });
    expect(await (await get("/v1/messages/msg_6/deliveries")).json()).toMatchObject({
      data: [{ status: "dead", reason: "exhausted", attempts: [{ statusCode: 500, error: "status: answered 500" }] }],
      next: null,
    });
    const attempts = await (await get("/v1/endpoints/ep_1/attempts?status=failed&limit=2")).json();
    expect(attempts).toMatchObject({ data: [{ messageId: "msg_297" }, { messageId: "msg_294" }] });
    const period = "since=2026-11-17T09:00:00Z&until=2026-11-17T09:05:00Z&interval=minute";
    expect(await (await get(`/v1/endpoints/ep_1/stats?${period}`)).json()).toMatchObject({
      succeeded: 200,
      failed: 100,
      durationMs: { p50: 40, p95: 40 },
      buckets: Array.from({ length: 5 }, () => ({ succeeded: 40, failed: 20 })),
    });
    expect(await (await get("/v1/stats")).json()).toMatchObject({ endpoints: { active: 1 }, deliveries: { open: 0, dead: 100 } });
  });

  it("pages through everything, each once", async () => {
    const seen: string[] = [];
    for (let cursor = ""; ; ) {
      const page = await (await get(`/v1/messages?limit=120${cursor}`)).json<{ data: { id: string }[]; next: string | null }>();
      seen.push(...page.data.map((message) => message.id));
      if (page.next === null) break;
      cursor = `&cursor=${page.next}`;
    }
    expect(seen).toEqual(OFFSETS.map((offset) => `msg_${offset}`).reverse());
  });

  it("names the streams an endpoint waits for", async () => {
    expect(await openStreamsOfEndpoint(env.DB, TENANT, "ep_1")).toEqual([]);
    await write(env.DB, { topic: "held", deliveries: [delivery(0, "ep_1", { status: "open", reason: "paused" })] });
    expect(await openStreamsOfEndpoint(env.DB, TENANT, "ep_1")).toEqual([`${TENANT}/topics/held`]);
  });

  it("is pruned by age, open deliveries excepted", async () => {
    expect(await pruneHistory(env.DB, T0 + 100_000, 10_000)).toBeGreaterThan(100);
    expect(await env.DB.prepare("SELECT status, count(*) AS n FROM deliveries GROUP BY 1 ORDER BY 1").raw()).toEqual([["dead", 66], ["open", 1]]);
    expect(await env.DB.prepare("SELECT min(time) >= ? AS kept FROM message_packs").bind(T0 + 100_000).first("kept")).toBe(1);
    expect(await pruneHistory(env.DB, T0 + 100_000, 10_000)).toBe(0);
  });

  it("shows an event with what its queue made of it, page by page, and the attempt also at the member", async () => {
    const mine = { id: "both", timeMs: T0 + 400_000 };
    const to = (target: string) => delivery(400, target, { messageId: "both", messageTimeMs: mine.timeMs });
    await write(env.DB, { messages: [message(400, { ...mine, endpointIds: ["queue:jobs"] })], deliveries: [to("ep_1")] });
    await write(env.DB, {
      ...ofQueue("jobs"),
      messages: [message(400, mine)],
      deliveries: [to("member")],
      attempts: [{ ...attempt(400, "member", {}, "ep_1"), messageId: "both" }],
    });
    type Listed = { data: { id: string; target: string; endpointId: string | null; attempts: unknown[] }[]; next: string | null };
    const first = await (await get("/v1/messages/both/deliveries?limit=2")).json<Listed>();
    const second = await (await get(`/v1/messages/both/deliveries?limit=2&cursor=${first.next}`)).json<Listed>();
    const rows = [...first.data, ...second.data];
    expect(rows.map((row) => [row.target, row.endpointId, row.attempts.length])).toEqual([
      ["queue:jobs", null, 0], ["ep_1", "ep_1", 0], ["member", "ep_1", 1],
    ]);
    expect(second.next).toBeNull();
    const { data } = await (await get("/v1/endpoints/ep_1/attempts?topic=jobs")).json<{ data: unknown[] }>();
    expect(data).toMatchObject([{ endpointId: "ep_1", messageId: "both", deliveryId: rows[2]?.id }]);
    expect(await (await get("/v1/messages/both")).json()).toMatchObject({ topic: "orders.completed" });
  });
});
