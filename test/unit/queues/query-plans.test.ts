import { describe, expect, it } from "vitest";
import { topicKeys } from "../../../src/messages/topic.ts";
import { findEndpointAddresses, findNodeEndpoint } from "../../../src/storage/endpoints.ts";
import {
  countDead,
  findQueue,
  listDeadOf,
  listMembersOf,
  listQueueMembers,
  listQueues,
  queueExists,
} from "../../../src/storage/queues.ts";
import { matchSubscriptions } from "../../../src/storage/subscriptions.ts";
import { openDatabase, planOf } from "../history/sqlite-d1.ts";

const QUEUE_STREAM = { stream: "default/queues/billing", endpointId: "member" };

/** The plan of everything a call asks of the database. */
async function plansOf(call: (db: D1Database) => Promise<unknown>): Promise<string[]> {
  const { db, sqlite, statements } = openDatabase();
  statements.length = 0;
  await call(db);
  return statements.flatMap((statement) => planOf(sqlite, statement)).filter((line) => !line.includes("json_each"));
}

describe("the queries of queues", () => {
  it("find bound queues by topic key together with the subscriptions, in one round trip", async () => {
    const { db } = openDatabase();
    let roundTrips = 0;
    const counting: D1Database = Object.assign(Object.create(db), {
      batch: (statements: D1PreparedStatement[]) => {
        roundTrips++;
        return db.batch(statements);
      },
    });
    await matchSubscriptions(counting, "default", topicKeys("orders.completed"));
    expect(roundTrips).toBe(1);
    const plan = await plansOf((database) => matchSubscriptions(database, "default", topicKeys("orders.completed")));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH s USING INDEX subscriptions_by_key \(tenant_id=\? AND topic_key=\?\)/));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH queue_topics USING (COVERING )?INDEX queue_topics_by_key \(tenant_id=\? AND topic_key=\?\)/));
    expect(plan.filter((line) => line.startsWith("SCAN"))).toEqual([]);
  });

  it.each([
    ["one queue", (db: D1Database) => listQueueMembers(db, "default", "billing")],
    ["many queues", (db: D1Database) => listMembersOf(db, "default", ["billing", "shipping"])],
  ])("find the members of %s by the queue's name, so that other subscriptions cost nothing", async (_what, call) => {
    const plan = await plansOf(call);
    expect(plan).toContainEqual(
      expect.stringMatching(/SEARCH s USING (COVERING )?INDEX subscriptions_by_queue \(tenant_id=\? AND queue=\?\)/),
    );
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH e USING PRIMARY KEY/));
    expect(plan.filter((line) => line.startsWith("SCAN"))).toEqual([]);
  });

  it.each([
    ["a queue", (db: D1Database) => findQueue(db, "default", "billing"), /SEARCH q USING PRIMARY KEY \(tenant_id=\? AND name=\?\)/],
    ["whether it exists", (db: D1Database) => queueExists(db, "default", "billing"), /SEARCH queues USING PRIMARY KEY/],
    [
      "a page of queues",
      (db: D1Database) => listQueues(db, "default", { limit: 50, afterName: "a" }),
      /SEARCH q USING PRIMARY KEY \(tenant_id=\? AND name>\?\)/,
    ],
    ["the endpoint of a node", (db: D1Database) => findNodeEndpoint(db, "default", "n"), /USING INDEX endpoints_by_node \(tenant_id=\? AND node=\?\)/],
    ["an endpoint's queues", (db: D1Database) => findEndpointAddresses(db, "default", "ep_1"), /USING INDEX subscriptions_by_endpoint/],
    ["the dead of a queue", (db: D1Database) => listDeadOf(db, "default", QUEUE_STREAM, 10), /INDEX deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\?\)/],
    ["how many those are", (db: D1Database) => countDead(db, "default", QUEUE_STREAM, 10), /INDEX deliveries_unfinished \(tenant_id=\? AND status=\? AND endpoint_id=\?\)/],
  ])("find %s by index", async (_what, call, index) => {
    const plan = await plansOf(call);
    expect(plan).toContainEqual(expect.stringMatching(index));
    // the subquery of a count reads rows that were found by index already
    expect(plan.filter((line) => line.startsWith("SCAN") && !line.includes("subquery"))).toEqual([]);
    expect(plan.filter((line) => line.includes("FOR ORDER BY") && !line.includes("json_group_array"))).toEqual([]);
  });
});
