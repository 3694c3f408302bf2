import { describe, expect, it } from "vitest";
import { listCheckpoints, listCheckpointsOf, saveCheckpoint } from "../../../src/storage/consumer-offsets.ts";
import { listJobs, pruneJobs } from "../../../src/storage/jobs.ts";
import { listTopicsAfter, rememberStream } from "../../../src/storage/streams.ts";
import { listTopics } from "../../../src/storage/topics.ts";
import { openDatabase, planOf } from "../history/sqlite-d1.ts";

/** The plan of everything a call asks of the database. */
async function plansOf(call: (db: D1Database) => Promise<unknown>): Promise<string[]> {
  const { db, sqlite, statements } = openDatabase();
  statements.length = 0;
  await call(db);
  expect(statements).not.toEqual([]);
  return statements.flatMap((statement) => planOf(sqlite, statement));
}

const tableScans = (plan: readonly string[]) => plan.filter((line) => /^SCAN (?!(?:n|CONSTANT ROW|\(subquery)\b)/.test(line));
const sorts = (plan: readonly string[]) => plan.filter((line) => /TEMP B-TREE FOR ORDER BY/.test(line));

describe("the queries of streams and jobs", () => {
  it("number a new stream without counting the others", async () => {
    const stream = { tenantId: "default", kind: "topics", name: "a" } as const;
    const plan = await plansOf((db) => rememberStream(db, stream, 0).run());
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH streams USING PRIMARY KEY \(tenant_id=\?\)/));
    expect(tableScans(plan)).toEqual([]);
  });

  it("find topics that appeared without reading those that were known", async () => {
    const plan = await plansOf((db) => listTopicsAfter(db, "default", 7, 10));
    expect(plan).toContainEqual(expect.stringMatching(/SEARCH streams USING PRIMARY KEY \(tenant_id=\? AND number>\?\)/));
    expect(sorts(plan)).toEqual([]);
  });

  it("list topics and jobs a page at a time, from where the page begins", async () => {
    const topics = await plansOf((db) => listTopics(db, "default", { afterName: "m", limit: 10 }));
    expect(topics).toContainEqual(expect.stringMatching(/SEARCH streams USING .*streams_by_name \(tenant_id=\? AND kind=\? AND name>\?\)/));
    expect(topics).toContainEqual(expect.stringMatching(/SEARCH topics USING PRIMARY KEY \(tenant_id=\? AND name>\?\)/));
    const jobs = await plansOf((db) => listJobs(db, "default", { beforeId: "job_x", limit: 10 }));
    expect(jobs).toContainEqual(expect.stringMatching(/SEARCH jobs USING PRIMARY KEY \(tenant_id=\?/));
    expect(sorts(jobs)).toEqual([]);
    const pruned = await plansOf((db) => pruneJobs(db, 0, 10));
    expect(pruned).toContainEqual(expect.stringMatching(/SEARCH jobs USING INDEX jobs_by_age/));
  });

  it("list checkpoints from where the page begins, and one consumer's without the others'", async () => {
    const all = await plansOf((db) => listCheckpoints(db, "default", { after: ["a", "b"], limit: 10 }));
    expect(all).toContainEqual(expect.stringMatching(/SEARCH consumer_offsets USING PRIMARY KEY \(tenant_id=\? AND \(consumer,stream\)>\(\?,\?\)\)/));
    const one = await plansOf((db) => listCheckpointsOf(db, "default", "a", { afterStream: "b", limit: 10 }));
    expect(one).toContainEqual(expect.stringMatching(/SEARCH consumer_offsets USING PRIMARY KEY \(tenant_id=\? AND consumer=\? AND stream>\?\)/));
    expect([...sorts(all), ...sorts(one)]).toEqual([]);
    const checkpoint = { consumer: "a", stream: "topics/a", position: 1, updatedAtMs: 0 };
    const saved = await plansOf((db) => saveCheckpoint(db, "default", checkpoint, 0));
    expect(tableScans(saved)).toEqual([]);
  });
});
