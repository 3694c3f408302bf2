import { expect, it } from "vitest";
import { findOverdueStreams } from "../../../src/storage/overdue-streams.ts";
import { delivery, ofQueue, T0, TENANT, write } from "./rows.ts";
import { openDatabase, planOf } from "./sqlite-d1.ts";

const LATER_MS = T0 + 3_600_000;
const open = (offset: number, endpointId: string, nextAttemptAtMs: number | null) => delivery(offset, endpointId, { status: "open", nextAttemptAtMs });

function databaseWithTenant() {
  const opened = openDatabase();
  opened.sqlite.exec(`INSERT INTO tenants (id, name, created_at) VALUES ('${TENANT}', 'a', 0)`);
  return opened;
}

it("finds each stream whose oldest open delivery to a target is overdue, and none that waits for its time", async () => {
  const { db } = databaseWithTenant();
  await write(db, { deliveries: [open(0, "ep_1", LATER_MS - 1), open(1, "ep_1", LATER_MS - 1), open(2, "ep_2", LATER_MS + 1), delivery(3, "ep_3")] });
  await write(db, { ...ofQueue("jobs"), deliveries: [open(0, "member", LATER_MS - 1)] });
  await write(db, { ...ofQueue("idle"), deliveries: [open(5, "other", LATER_MS)] });
  const streams = await findOverdueStreams(db, LATER_MS, 10);
  expect(streams.sort()).toEqual([`${TENANT}/queues/jobs`, `${TENANT}/topics/orders.completed`]);
  expect(await findOverdueStreams(db, LATER_MS, 1)).toHaveLength(1);
});

it("finds a stream that holds something for very long", async () => {
  const { db } = databaseWithTenant();
  await write(db, { deliveries: [open(0, "ep_1", null)] });
  expect(await findOverdueStreams(db, T0 + 60_000, 10)).toEqual([]);
  expect(await findOverdueStreams(db, LATER_MS, 10)).toHaveLength(1);
});

it("reads one delivery a target, by the index of what is unfinished", async () => {
  const { db, sqlite, statements } = openDatabase();
  statements.length = 0;
  await findOverdueStreams(db, LATER_MS, 10);
  const plan = statements.flatMap((statement) => planOf(sqlite, statement));
  expect(plan).toContainEqual(expect.stringMatching(/SEARCH d USING INDEX deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\? AND message_time=\?\)/));
  expect(plan.filter((line) => line.startsWith("SCAN") && !/SCAN (t|o|\(subquery|open_targets)/.test(line))).toEqual([]);
});
