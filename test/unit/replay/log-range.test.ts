import { beforeEach, describe, expect, it } from "vitest";
import type { Append } from "../../../src/streams/contract.ts";
import { createTables } from "../../../src/streams/schema.ts";
import { SegmentLog } from "../../../src/streams/segment-log.ts";
import { openSql } from "./object-sql.ts";

const NONE = { settledBefore: 0, historyBefore: 0 };
const ALL = Number.POSITIVE_INFINITY;

function message(bytes: number): Append {
  const id = `msg_${bytes}`;
  return {
    message: { id, deduplicate: false, contentType: "text/plain", attributes: {}, traceparent: "", body: new Uint8Array(bytes) },
    endpointIds: [],
  };
}

let sql: SqlStorage;
let log: SegmentLog;

beforeEach(() => {
  sql = openSql();
  createTables(sql);
  log = new SegmentLog(sql);
});

/** One segment for each: `counts` messages at the times 10, 20, 30, … */
function write(counts: readonly number[], bytes = 100): void {
  counts.forEach((count, index) => log.append(Array.from({ length: count }, () => message(bytes)), (index + 1) * 10, NONE));
}

describe("seeking by time", () => {
  it("finds the first message of a time or later, in a log of any shape", () => {
    write([3, 1, 5, 2]);
    const firstOffsets = [0, 3, 4, 9, 11];
    for (let timeMs = 0; timeMs <= 50; timeMs++) {
      const expected = firstOffsets[Math.min(Math.max(Math.ceil(timeMs / 10) - 1, 0), 4)];
      expect([timeMs, log.offsetAt(timeMs)]).toEqual([timeMs, expected]);
    }
  });

  it("finds the first of several commits of the same millisecond", () => {
    for (const timeMs of [5, 7, 7, 7, 9]) log.append([message(1), message(1)], timeMs, NONE);
    expect([5, 6, 7, 8, 9, 10].map((timeMs) => log.offsetAt(timeMs))).toEqual([0, 2, 2, 8, 8, 10]);
  });

  it("answers the next offset where there is nothing, and begins at what is left", () => {
    expect(log.offsetAt(0)).toBe(0);
    write([2, 2]);
    log.trim({ sinceMs: 15, bytes: ALL, fromOffset: 4 });
    expect([log.offsetAt(0), log.offsetAt(15), log.offsetAt(21)]).toEqual([2, 2, 4]);
  });
});

describe("trimming", () => {
  it("removes by age whole segments, and nothing that has to stay for its deliveries", () => {
    write([2, 2, 2]);
    expect(log.trim({ sinceMs: 30, bytes: ALL, fromOffset: 3 })).toEqual({ removed: true, next: "blocked" });
    expect(log.earliestOffset).toBe(2);
    expect(log.trim({ sinceMs: 30, bytes: ALL, fromOffset: 6 })).toEqual({ removed: true, next: "nothing" });
    expect(log.trim({ sinceMs: 30, bytes: ALL, fromOffset: 6 })).toEqual({ removed: false, next: "nothing" });
    expect([log.earliestOffset, log.nextOffset]).toEqual([4, 6]);
  });

  it("removes by size the oldest as long as the rest is too large, and never the newest", () => {
    write([1, 1, 1, 1], 1_000);
    const { bytes } = log;
    expect(bytes).toBeGreaterThan(4_000);
    log.trim({ sinceMs: 0, bytes: bytes - 1, fromOffset: 4 });
    expect(log.earliestOffset).toBe(1);
    expect(log.bytes).toBeLessThan(bytes);
    log.trim({ sinceMs: 0, bytes: 1, fromOffset: 4 });
    expect(log.earliestOffset).toBe(3);
    expect(log.hasOlderSegments).toBe(false);
  });

  it("works in bounded steps, also in a log of many small segments", () => {
    write(Array<number>(450).fill(1), 10);
    const steps = [0, 1, 2].map(() => log.trim({ sinceMs: 1e9, bytes: ALL, fromOffset: 450 }).next);
    expect(steps).toEqual(["more", "more", "nothing"]);
    expect([log.earliestOffset, log.nextOffset, log.bytes]).toEqual([450, 450, 0]);
    expect(log.oldestTimeMs()).toBeNull();
  });

  it("bounds a step by bytes too", () => {
    write(Array<number>(40).fill(1), 1_000_000);
    expect(log.trim({ sinceMs: 1e9, bytes: ALL, fromOffset: 40 }).next).toBe("more");
    expect(log.earliestOffset).toBeGreaterThan(10);
    expect(log.earliestOffset).toBeLessThan(25);
  });

  it("knows its size also after a restart", () => {
    write([3, 2, 4], 500);
    log.trim({ sinceMs: 15, bytes: ALL, fromOffset: 9 });
    expect(new SegmentLog(sql).bytes).toBe(log.bytes);
    expect(new SegmentLog(sql).lastTimeMs).toBe(30);
  });
});

describe("counting a stretch", () => {
  it("leaves out what was expunged", () => {
    write([5, 5]);
    for (const offset of [1, 6, 6]) log.expunge(offset);
    expect([log.countBetween(0, 10), log.countBetween(2, 6), log.countBetween(6, 7), log.countBetween(7, 7)]).toEqual([8, 4, 0, 0]);
  });
});
