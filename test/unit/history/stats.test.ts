import { describe, expect, it } from "vitest";
import { readEndpointStats, readTenantStats } from "../../../src/storage/stats.ts";
import { addEndpoint, attempt, delivery, FAILURE, message, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

describe("readEndpointStats", () => {
  it("counts by interval, without gaps, from the start until before the end", async () => {
    const { db } = openDatabase();
    const times = [T0 - 1, T0, T0 + MINUTE - 1, T0 + 2 * MINUTE, T0 + 3 * MINUTE];
    const attempts = times.map((startedAtMs, index) => attempt(0, "ep_1", { startedAtMs, ...(index === 3 ? FAILURE : {}) }));
    await write(db, { deliveries: [delivery(0, "ep_1")], attempts });
    const stats = await readEndpointStats(db, TENANT, "ep_1", { sinceMs: T0, untilMs: T0 + 3 * MINUTE, intervalMs: MINUTE });
    expect(stats).toMatchObject({ succeeded: 2, failed: 1 });
    expect(stats.buckets).toEqual([
      { startMs: T0, succeeded: 2, failed: 0 },
      { startMs: T0 + MINUTE, succeeded: 0, failed: 0 },
      { startMs: T0 + 2 * MINUTE, succeeded: 0, failed: 1 },
    ]);
  });

  it("counts the attempts of a period to the millisecond", async () => {
    const { db } = openDatabase();
    const at = (startedAtMs: number, more = {}) => attempt(0, "ep_1", { startedAtMs, ...more });
    await write(db, { attempts: [at(T0 + 499), at(T0 + 500, FAILURE), at(T0 + 999), at(T0 + 1500), at(T0 + 2399, { durationMs: 900 }), at(T0 + 2400)] });
    const stats = (sinceMs: number, untilMs: number) => readEndpointStats(db, TENANT, "ep_1", { sinceMs, untilMs, intervalMs: MINUTE });
    expect(await stats(T0 + 500, T0 + 2400)).toMatchObject({ succeeded: 3, failed: 1, p50DurationMs: 40, p95DurationMs: 905 });
    expect(await stats(T0 + 500, T0 + 501)).toMatchObject({ succeeded: 0, failed: 1 });
    expect(await stats(T0 + 501, T0 + 1000)).toMatchObject({ succeeded: 1, failed: 0 });
    expect(await stats(T0 + 1000, T0 + 1500)).toMatchObject({ succeeded: 0, failed: 0, p50DurationMs: null });
  });

  it("gives the median and the 95th percentile within 5 %", async () => {
    const { db } = openDatabase();
    const durations = Array.from({ length: 1000 }, (_, index) => 7 + index * 13);
    const attempts = durations.map((durationMs, index) => attempt(0, "ep_1", { startedAtMs: T0 + index, durationMs }));
    await write(db, { deliveries: [delivery(0, "ep_1")], attempts });
    const stats = await readEndpointStats(db, TENANT, "ep_1", { sinceMs: T0, untilMs: T0 + HOUR, intervalMs: HOUR });
    for (const [found, exact] of [[stats.p50DurationMs, durations[499]], [stats.p95DurationMs, durations[949]]]) {
      expect(Math.abs((found ?? 0) - (exact ?? 0)) / (exact ?? 0)).toBeLessThanOrEqual(0.05);
    }
  });

  it("has no durations where there was no attempt, and counts no other tenant's", async () => {
    const { db } = openDatabase();
    await write(db, { tenantId: "ten_b", deliveries: [delivery(0, "ep_1")], attempts: [attempt(0, "ep_1")] });
    const stats = await readEndpointStats(db, TENANT, "ep_1", { sinceMs: T0, untilMs: T0 + HOUR, intervalMs: HOUR });
    expect(stats).toEqual({ succeeded: 0, failed: 0, p50DurationMs: null, p95DurationMs: null, buckets: [{ startMs: T0, succeeded: 0, failed: 0 }] });
  });
});

describe("readTenantStats", () => {
  it("counts what the tenant has now and did in the last hour and day", async () => {
    const { db } = openDatabase();
    await addEndpoint(db, "ep_1");
    await addEndpoint(db, "ep_2", TENANT, "paused");
    await addEndpoint(db, "ep_3", TENANT, "disabled");
    await addEndpoint(db, "ep_b", "ten_b");
    const now = T0 + 23 * HOUR;
    await write(db, {
      messages: [message(0, { timeMs: T0 - 2 * HOUR }), message(1, { timeMs: T0 }), message(2, { timeMs: now - MINUTE }), message(3, { timeMs: now - MINUTE })],
      deliveries: [delivery(0, "ep_1"), delivery(1, "ep_1", { status: "dead" }), delivery(2, "ep_1", { status: "open" }), delivery(2, "ep_2", { status: "open" })],
      attempts: [
        attempt(0, "ep_1"), attempt(1, "ep_1", { ...FAILURE, startedAtMs: now - 2 }), attempt(2, "ep_1", { startedAtMs: now - 1 }),
        attempt(2, "ep_2", { startedAtMs: now - 1 }),
      ],
    });
    await write(db, { tenantId: "ten_b", messages: [message(9, { timeMs: now })], deliveries: [delivery(9, "ep_b", { status: "dead" })] });
    expect(await readTenantStats(db, TENANT, now)).toEqual({
      endpoints: { active: 1, paused: 1, disabled: 1 },
      messagesLastHour: 2,
      messagesLastDay: 3,
      openDeliveries: 2,
      deadDeliveries: 1,
      succeededAttemptsLastHour: 2,
      failedAttemptsLastHour: 1,
    });
  });

  it("seeks the packs of an endpoint", async () => {
    const { db, sqlite, statements } = openDatabase();
    await readEndpointStats(db, TENANT, "ep_1", { sinceMs: T0 + 1, untilMs: T0 + HOUR + 1, intervalMs: MINUTE });
    expect(statements).toHaveLength(3);
    for (const sql of statements) expect(planOf(sqlite, sql).join("\n")).toMatch(/SEARCH attempt_packs USING PRIMARY KEY \(tenant_id=\? AND endpoint_id=\? AND time/);
  });

  it("seeks in every table", async () => {
    const { db, sqlite, statements } = openDatabase();
    await readTenantStats(db, TENANT, T0);
    const plan = planOf(sqlite, statements.at(-1) ?? "");
    expect(plan.filter((step) => /SCAN (?!CONSTANT|\(subquery)/.test(step))).toEqual([]);
  });
});
