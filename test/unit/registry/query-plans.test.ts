import { describe, expect, it } from "vitest";
import { topicKeys } from "../../../src/messages/topic.ts";
import { findDeliveryEndpoints, findOpenStreams } from "../../../src/storage/delivery-endpoints.ts";
import { listEndpoints } from "../../../src/storage/endpoints.ts";
import { matchSubscriptions } from "../../../src/storage/subscriptions.ts";
import { openDatabase, planOf } from "../history/sqlite-d1.ts";

const PAGE = { limit: 50, beforeId: null };

/** The plan of everything a call asks of the database. */
async function plansOf(call: (db: D1Database) => Promise<unknown>): Promise<string[]> {
  const { db, sqlite, statements } = openDatabase();
  statements.length = 0;
  await call(db);
  return statements.flatMap((statement) => planOf(sqlite, statement)).filter((line) => !line.includes("json_each"));
}

describe("the queries of the hot path", () => {
  it("find subscriptions by topic key, so that a tenant's other subscriptions cost nothing", async () => {
    const plan = await plansOf((db) => matchSubscriptions(db, "default", topicKeys("orders.completed")));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH s USING INDEX subscriptions_by_key \(tenant_id=\? AND topic_key=\?\)/));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH e USING PRIMARY KEY/));
    expect(plan.filter((line) => line.startsWith("SCAN"))).toEqual([]);
  });

  it("find endpoints and their secrets by id", async () => {
    const plan = await plansOf((db) => findDeliveryEndpoints(db, ["ep_1", "ep_2"]));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH endpoints USING PRIMARY KEY/));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH endpoint_secrets USING INDEX endpoint_secrets_by_endpoint/));
    expect(plan.filter((line) => line.startsWith("SCAN"))).toEqual([]);
  });

  it("find the open streams of an endpoint without reading its delivered messages", async () => {
    const plan = await plansOf((db) => findOpenStreams(db, "default", "ep_1"));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH deliveries USING (COVERING )?INDEX deliveries_unfinished/));
  });

  it("list endpoints in the order of an index", async () => {
    const plan = await plansOf((db) => listEndpoints(db, "default", {}, PAGE));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH e USING INDEX endpoints_by_tenant/));
    expect(plan.filter((line) => /ORDER BY/.test(line) && !/json_group_array/.test(line))).toEqual([]);
  });
});
