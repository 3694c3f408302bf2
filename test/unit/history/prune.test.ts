import { describe, expect, it } from "vitest";
import { newId } from "../../../src/ids.ts";
import { markExpunged } from "../../../src/storage/history-messages.ts";
import { pruneHistory } from "../../../src/storage/history-prune.ts";
import { attempt, delivery, message, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const OFFSET: Record<string, string> = { message_packs: "first_offset", attempt_packs: "first_offset" };
const left = (sqlite: ReturnType<typeof openDatabase>["sqlite"], table: string) =>
  sqlite.prepare(`SELECT tenant_id AS t, ${OFFSET[table] ?? "offset"} AS o FROM ${table} ORDER BY 1, 2`).all().map((row) => `${row["t"]}/${row["o"]}`);

describe("pruneHistory", () => {
  it("removes what is older than the time, of every tenant and endpoint, and keeps the rest", async () => {
    const { db, sqlite } = openDatabase();
    for (const tenantId of ["ten_a", "ten_b", "ten_c"]) {
      await write(db, {
        tenantId,
        messages: [0, 2, 4].map((offset) => message(offset)),
        deliveries: [0, 2, 4].map((offset) => delivery(offset, `ep_${offset % 4}`)),
        attempts: [0, 2, 4].map((offset) => attempt(offset, `ep_${offset % 4}`)),
      });
      const stream = `${tenantId}/topics/orders.completed`;
      await db.batch([0, 4].map((offset) => markExpunged(db, tenantId, { timeMs: T0 + offset * 1000, stream, offset }, T0)));
    }
    await write(db, { messages: [message(6, { id: newId("msg", T0 + 6000) })] });
    expect(await pruneHistory(db, T0 + 4000, 100)).toBe(21);
    const tables = ["message_packs", "message_ids", "history_expunged", "deliveries", "attempt_packs"];
    for (const table of tables) {
      const more = table === "message_packs" ? ["ten_a/6"] : [];
      expect(left(sqlite, table)).toEqual(["ten_a/4", ...more, "ten_b/4", "ten_c/4"]);
    }
    expect(await pruneHistory(db, T0 + 4000, 100)).toBe(0);
  });

  it("removes with a pack the rows of its ids, and keeps those of a pack that is still there", async () => {
    const { db, sqlite } = openDatabase();
    // the first is old, but its pack is not
    await write(db, { messages: [0, 1, 2].map((offset) => message(offset, { timeMs: T0 + offset })) });
    await write(db, { messages: [0, 1, 2].map((offset) => message(10 + offset, { timeMs: T0 + 2 + offset })) });
    expect(await pruneHistory(db, T0 + 3, 100)).toBe(1);
    expect(left(sqlite, "message_ids")).toEqual([10, 11, 12].map((offset) => `${TENANT}/${offset}`));
  });

  it("keeps an open delivery however old it is, until it ends (I2)", async () => {
    const { db, sqlite } = openDatabase();
    await write(db, { deliveries: [delivery(0, "ep_1", { status: "open" }), delivery(1, "ep_1", { status: "dead" }), delivery(2, "ep_1", { status: "cancelled" })] });
    expect(await pruneHistory(db, T0 + 1e9, 100)).toBe(2);
    expect(left(sqlite, "deliveries")).toEqual([`${TENANT}/0`]);
    await write(db, { deliveries: [delivery(0, "ep_1", { updatedAtMs: T0 + 2e9 })] });
    expect(await pruneHistory(db, T0 + 1e9, 100)).toBe(1);
  });

  it("stops at the limit of a table, the oldest first within a tenant", async () => {
    const { db, sqlite } = openDatabase();
    await write(db, { messages: [6, 2, 4, 0].map((offset) => message(offset)) });
    expect(await pruneHistory(db, T0 + 9000, 3)).toBe(3);
    expect(left(sqlite, "message_packs")).toEqual([`${TENANT}/6`]);
    expect(left(sqlite, "message_ids")).toEqual([`${TENANT}/6`]);
  });

  it("deletes many rows in statements of a bounded size", async () => {
    const { db, statements } = openDatabase();
    await write(db, { messages: Array.from({ length: 4500 }, (_, index) => message(index * 2)) });
    statements.length = 0;
    expect(await pruneHistory(db, T0 + 1e9, 10_000)).toBe(4500);
    expect(statements.filter((sql) => sql.includes("DELETE FROM message_packs"))).toHaveLength(3);
  });

  it("answers 0 on an empty history", async () => {
    expect(await pruneHistory(openDatabase().db, T0, 100)).toBe(0);
  });

  it("seeks the tenants and what is old of each", async () => {
    const { db, sqlite, statements } = openDatabase();
    await pruneHistory(db, T0, 100);
    const plans = statements.map((sql) => planOf(sqlite, sql).join("\n"));
    // the rows of ids are those of the same packs
    for (const plan of plans.slice(0, 2)) expect(plan).toMatch(/SEARCH m USING PRIMARY KEY \(tenant_id=\? AND time<\?\)/);
    expect(plans[0]).toMatch(/SEARCH message_ids USING PRIMARY KEY \(tenant_id=\? AND id=\? AND time=\? AND stream=\? AND offset=\?\)/);
    expect(plans[2]).toMatch(/SEARCH x USING PRIMARY KEY \(tenant_id=\? AND time<\?\)/);
    expect(plans[3]).toMatch(/SEARCH d USING PRIMARY KEY \(tenant_id=\? AND message_time<\?\)/);
    expect(plans[4]).toMatch(/SEARCH a USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time<\?\)/);
    // the first row of a table may be looked up by "scanning" for its minimum; what is kept is never scanned
    for (const plan of plans) expect(plan).not.toMatch(/SCAN (m|x|d|a)\b/);
  });
});
