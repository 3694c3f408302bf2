import { describe, expect, it } from "vitest";
import { laneOf, Lanes } from "../../../src/streams/lanes.ts";
import { createTables } from "../../../src/streams/schema.ts";
import type { LogEntry } from "../../../src/streams/segment-log.ts";
import { openSql } from "../replay/object-sql.ts";

const EP = "ep_1";
const entry = (offset: number, customer?: string): LogEntry => ({
  id: `msg_${offset}`, offset, timeMs: 0, contentType: "text/plain", traceparent: "", size: 0, matched: 1, endpointIds: [], orderedIds: [EP],
  expunged: false, attributes: customer === undefined ? {} : { customer },
});
const lane = (customer?: string) => laneOf(entry(0, customer), EP, "customer");

function openLanes() {
  const sql = openSql();
  createTables(sql);
  const lanes = new Lanes(sql);
  return {
    sql,
    lanes,
    add: (offset: number, customer?: string) => lanes.add(entry(offset, customer), lane(customer), 0),
    /** As when it was delivered; the next head. */
    end: (offset: number, customer?: string) => {
      sql.exec("DELETE FROM open_deliveries WHERE offset = ?", offset);
      return lanes.advance(lane(customer), 0)?.offset ?? null;
    },
  };
}

describe("the lanes of an ordered endpoint", () => {
  it("have one head for each value of the key, and the others behind it in the order of the stream", () => {
    const { add, end } = openLanes();
    expect([add(0, "anna"), add(1, "bert"), add(2, "anna"), add(3, "bert"), add(4, "anna")]).toEqual([true, true, false, false, false]);
    expect(end(1, "bert")).toBe(3);
    expect([end(0, "anna"), end(2, "anna"), end(4, "anna")]).toEqual([2, 4, null]);
  });

  it("take what has no such attribute as one lane, and all as one where there is no key", () => {
    const { add, end } = openLanes();
    expect([add(0), add(1), add(2, "anna")]).toEqual([true, false, true]);
    expect(end(0)).toBe(1);
    expect(laneOf(entry(0, "anna"), EP, undefined)).toEqual(laneOf(entry(1, "bert"), EP, null));
  });

  it("take what is opened again at its place, and not beside a head", () => {
    const { lanes, add, end } = openLanes();
    add(5);
    add(6);
    lanes.reopen(entry(2), lane(), 1_000);
    expect(lanes.advance(lane(), 0)).toBeNull();
    expect([end(5), end(2), end(6)]).toEqual([2, 6, null]);
    lanes.reopen(entry(2), lane(), 2_000);
    expect(lanes.advance(lane(), 0)).toEqual({ offset: 2, endpointId: EP, reopenedAtMs: 2_000 });
  });

  it("give a head that waits for its next attempt another one now, when it is opened again", () => {
    const { sql, lanes, add } = openLanes();
    add(0);
    add(1);
    sql.exec("UPDATE open_deliveries SET attempts = 1, attempting = 0, next_at = 86400000 WHERE offset = 0");
    lanes.reopen(entry(1), lane(), 1_000);
    expect(lanes.advance(lane(), 0)).toBeNull();
    lanes.reopen(entry(0), lane(), 1_000);
    expect(lanes.advance(lane(), 0)).toEqual({ offset: 0, endpointId: EP, reopenedAtMs: 1_000 });
  });

  it("find a head and the next one by their index, however many wait", () => {
    const { sql } = openLanes();
    const plan = sql.exec(
      "EXPLAIN QUERY PLAN SELECT offset FROM open_deliveries WHERE endpoint_id = ? AND lane_key = ? AND status = 'queued' AND ordered = 1 ORDER BY offset LIMIT 1",
      EP, "",
    );
    expect(plan.toArray().map((row) => row["detail"])).toEqual([
      expect.stringMatching(/^SEARCH open_deliveries USING (?:COVERING )?INDEX open_deliveries_of_lane \(endpoint_id=\? AND lane_key=\? AND status=\?\)$/),
    ]);
  });
});

it("adds to the tables of an older object what they have got since, once", () => {
  const sql = openSql();
  sql.exec(`CREATE TABLE open_deliveries (
    offset INTEGER NOT NULL, endpoint_id TEXT NOT NULL, message_id TEXT NOT NULL, message_time INTEGER NOT NULL,
    status TEXT NOT NULL, attempts INTEGER NOT NULL, sweeps INTEGER NOT NULL DEFAULT 0, ordered INTEGER NOT NULL DEFAULT 0,
    attempting INTEGER NOT NULL DEFAULT 0, next_at INTEGER, PRIMARY KEY (offset, endpoint_id)) STRICT, WITHOUT ROWID;`);
  sql.exec("INSERT INTO open_deliveries (offset, endpoint_id, message_id, message_time, status, attempts) VALUES (1, 'ep_1', 'msg_1', 2, ?, 0)", "waiting");
  createTables(sql);
  createTables(sql);
  expect(sql.exec("SELECT lane_key, reopened_at FROM open_deliveries").toArray().map((row) => ({ ...row }))).toEqual([{ lane_key: "", reopened_at: 0 }]);
});
