import { beforeEach, describe, expect, it } from "vitest";
import { MAX_RUNNING, type ReplayLog, Replays } from "../../../src/streams/replays.ts";
import { createTables } from "../../../src/streams/schema.ts";
import type { LogEntry } from "../../../src/streams/segment-log.ts";
import { openSql } from "./object-sql.ts";

/** Any time that is far from zero. */
const T = 1_800_000_000_000;
const IDLE = { unattempted: 0, open: 0, isHeld: false };

let sql: SqlStorage;
let replays: Replays;

beforeEach(() => {
  sql = openSql();
  createTables(sql);
  replays = new Replays(sql);
});

function start(jobId: string, fromOffset: number, untilOffset: number, endpointId = "ep_1"): boolean {
  return replays.start({ jobId, endpointId, fromOffset, untilOffset, total: untilOffset - fromOffset }, T + 1_000);
}

/** A log of every offset there is, and endpoints under that load. */
function logWith(load: Partial<typeof IDLE> = {}): ReplayLog {
  return {
    messages: (from, to, limit) => {
      const next = Math.min(to, from + limit);
      const entries = Array.from({ length: next - from }, (_, index) => ({ offset: from + index }) as LogEntry);
      return { entries, next };
    },
    load: () => ({ ...IDLE, ...load }),
  };
}

const offsetsOf = (step: ReturnType<Replays["step"]>) => step.map(({ entry }) => entry.offset);

describe("the replays of a stream", () => {
  it("hand out a portion each step, in order, each message once, and end with the last", () => {
    start("job_1", 5, 455);
    const steps = [2_000, 3_000, 4_000, 5_000].map((ms) => offsetsOf(replays.step(logWith(), T + ms)));
    expect(steps.map(({ length }) => length)).toEqual([200, 200, 50, 0]);
    expect(steps.flat()).toEqual(Array.from({ length: 450 }, (_, index) => index + 5));
    expect(replays.find("job_1")).toMatchObject({ status: "done", done: 450, total: 450, nextOffset: 455, updatedAtMs: T + 4_000 });
  });

  it("open less when the portion before is not attempted yet, and nothing while the endpoint is held or has too much open", () => {
    start("job_1", 0, 1_000);
    expect(replays.step(logWith({ unattempted: 150 }), T + 1)).toHaveLength(50);
    expect(replays.step(logWith({ unattempted: 200 }), T + 2)).toHaveLength(0);
    expect(replays.step(logWith({ isHeld: true }), T + 3)).toHaveLength(0);
    expect(replays.step(logWith({ open: 9_990 }), T + 4)).toHaveLength(10);
    expect(replays.step(logWith({ open: 10_000 }), T + 5)).toHaveLength(0);
  });

  it("share one endpoint's portion, and all of them one step", () => {
    start("job_a", 0, 1_000);
    start("job_b", 0, 1_000);
    expect(replays.step(logWith(), T + 2_000)).toHaveLength(200);
    // whoever waited longest has the next one
    const second = replays.step(logWith(), T + 3_000);
    expect([replays.find("job_a")?.done, replays.find("job_b")?.done, second.length]).toEqual([200, 200, 200]);
    for (let index = 0; index < 10; index++) start(`job_other${index}`, 0, 1_000, `ep_other${index}`);
    expect(replays.step(logWith(), T + 4_000)).toHaveLength(1_000);
  });

  it("go on after a restart where they were", () => {
    start("job_1", 0, 300);
    replays.step(logWith(), T + 2_000);
    replays = new Replays(sql);
    expect(replays.lowestOffset()).toBe(200);
    expect(offsetsOf(replays.step(logWith(), T + 3_000))[0]).toBe(200);
    expect(replays.openedLately()).toEqual([{ endpointId: "ep_1", from: 0, to: 300 }]);
  });

  it("stop one by one, or all of an endpoint, and then hold nothing back", () => {
    start("job_1", 10, 20);
    start("job_2", 0, 20);
    start("job_3", 15, 20, "ep_2");
    replays.stop("job_2", "Stopped on request.", T + 1_000);
    expect(replays.find("job_2")).toMatchObject({ status: "stopped", reason: "Stopped on request.", done: 0 });
    expect(replays.lowestOffset()).toBe(10);
    replays.stopAllOf("ep_1", "The endpoint was deleted.", T + 2_000);
    expect(replays.find("job_1")?.status).toBe("stopped");
    expect(replays.find("job_2")?.reason).toBe("Stopped on request.");
    expect(replays.lowestOffset()).toBe(15);
    replays.stop("job_3", "x", T + 3_000);
    expect([replays.lowestOffset(), replays.step(logWith(), T + 4_000).length]).toEqual([null, 0]);
  });

  it("are bounded in number", () => {
    for (let index = 0; index < MAX_RUNNING; index++) expect(start(`job_${index}`, 0, 10)).toBe(true);
    expect(start("job_more", 0, 10)).toBe(false);
    replays.stop("job_0", "x", T + 2_000);
    expect(start("job_more", 0, 10)).toBe(true);
  });
});

describe("reporting", () => {
  it("tells of a new replay at once, of a running one now and then, and of its end", () => {
    start("job_1", 0, 300);
    const told = replays.unreported(T + 1_000);
    expect(told).toMatchObject([{ jobId: "job_1", status: "running", done: 0 }]);
    replays.reported(told, T + 1_000);
    expect(replays.unreported(T + 1_001)).toEqual([]);
    replays.step(logWith(), T + 2_000);
    expect(replays.unreported(T + 2_000)).toEqual([]);
    expect(replays.unreported(T + 3_500)).toMatchObject([{ done: 200 }]);
    replays.step(logWith(), T + 3_600);
    expect(replays.unreported(T + 3_600)).toMatchObject([{ status: "done", done: 300 }]);
  });

  it("tells again what could not be told, also of an end in the same millisecond as the report before", () => {
    start("job_1", 0, 300);
    replays.reported(replays.unreported(T + 1_000), T + 1_000);
    replays.stop("job_1", "x", T + 1_000);
    expect(replays.unreported(T + 1_000)).toMatchObject([{ status: "stopped" }]);
    expect(replays.unreported(T + 9_000)).toMatchObject([{ status: "stopped" }]);
  });

  it("forgets what ended a while ago, once D1 knows; then there is nothing to wake for", () => {
    start("job_1", 0, 10);
    replays.step(logWith(), T + 2_000);
    replays.reported([], T + 200_000);
    expect(replays.find("job_1")).not.toBeNull();
    expect(replays.nextStepMs(T + 200_000)).toBe(T + 201_000);
    replays.reported(replays.unreported(T + 200_000), T + 200_000);
    expect(replays.find("job_1")).toBeNull();
    expect(replays.nextStepMs(T + 200_000)).toBeNull();
  });
});
