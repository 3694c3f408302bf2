import { describe, expect, it } from "vitest";
import { pruneHistory } from "../../../src/storage/history-prune.ts";
import { attempt, delivery, message, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const left = (sqlite: ReturnType<typeof openDatabase>["sqlite"], table: string) =>
  sqlite.prepare(`SELECT tenant_id AS t, offset AS o FROM ${table} ORDER BY 1, 2`).all().map((row) => `${row["t"]}/${row["o"]}`);

describe("pruneHistory", () => {
  it("removes what is older than the time, of every tenant and endpoint, and keeps the rest", async () => {
    const { db, sqlite } = openDatabase();
    for (const tenantId of ["ten_a", "ten_b", "ten_c"]) {
      await write(db, {
        tenantId,
        messages: [0, 1, 2].map((offset) => message(offset)),
        deliveries: [0, 1, 2].map((offset) => delivery(offset, `ep_${offset % 2}`)),
        attempts: [0, 1, 2].map((offset) => attempt(offset, `ep_${offset % 2}`)),
      });
    }
    expect(await pruneHistory(db, T0 + 2000, 100)).toBe(18);
    for (const table of ["messages", "deliveries", "attempts"]) {
      expect(left(sqlite, table)).toEqual(["ten_a/2", "ten_b/2", "ten_c/2"]);
    }
    expect(await pruneHistory(db, T0 + 2000, 100)).toBe(0);
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
    await write(db, { messages: [3, 1, 2, 0].map((offset) => message(offset)) });
    expect(await pruneHistory(db, T0 + 9000, 3)).toBe(3);
    expect(left(sqlite, "messages")).toEqual([`${TENANT}/3`]);
  });

  it("deletes many rows in statements of a bounded size", async () => {
    const { db, statements } = openDatabase();
    await write(db, { messages: Array.from({ length: 4500 }, (_, offset) => message(offset)) });
    statements.length = 0;
    expect(await pruneHistory(db, T0 + 1e9, 10_000)).toBe(4500);
    expect(statements.filter((sql) => sql.includes("FROM messages WHERE"))).toHaveLength(3);
  });

  it("answers 0 on an empty history", async () => {
    expect(await pruneHistory(openDatabase().db, T0, 100)).toBe(0);
  });

  it("seeks the tenants and what is old of each", async () => {
    const { db, sqlite, statements } = openDatabase();
    await pruneHistory(db, T0, 100);
    const plans = statements.map((sql) => planOf(sqlite, sql).join("\n"));
    expect(plans[0]).toMatch(/SEARCH m USING PRIMARY KEY \(tenant_id=\? AND time<\?\)/);
    expect(plans[1]).toMatch(/SEARCH d USING PRIMARY KEY \(tenant_id=\? AND message_time<\?\)/);
    expect(plans[2]).toMatch(/SEARCH a USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time<\?\)/);
    // the first row of a table may be looked up by "scanning" for its minimum; what is kept is never scanned
    for (const plan of plans) expect(plan).not.toMatch(/SCAN (m|d|a)\b/);
  });
});
