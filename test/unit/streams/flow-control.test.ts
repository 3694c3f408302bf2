import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { FlowControl } from "../../../src/streams/flow-control.ts";

const EP = "ep_a";
const MINUTE_MS = 60_000;

/** A flow whose circuit has just opened; and when. */
function opened(): { flow: FlowControl; atMs: number } {
  const flow = new FlowControl(() => 0.5, []);
  for (let atMs = 0; ; atMs += 500) if (flow.settled(EP, -1, "failed", atMs) === "opened") return { flow, atMs };
}

/** Lets out as many as may go; their offsets. */
function letOut(flow: FlowControl, nowMs: number, from = 0): number[] {
  const offsets = Array.from({ length: flow.room(EP, nowMs) }, (_, index) => from + index);
  flow.wentOut(EP, offsets, nowMs);
  return offsets;
}

describe("an endpoint that is well", () => {
  it("is free, whatever single attempts come to", () => {
    const flow = new FlowControl(Math.random, []);
    for (let offset = 0; offset < 100; offset++) flow.settled(EP, offset, offset % 2 === 0 ? "failed" : "succeeded", offset * 1_000);
    expect({ free: flow.isFree(EP), all: flow.allFree }).toEqual({ free: true, all: true });
  });
});

describe("an open circuit", () => {
  it("lets one delivery at a time try the endpoint, less and less often, and twice a minute in the end", () => {
    const { flow, atMs } = opened();
    expect(flow.isFree(EP)).toBe(false);
    const probes: number[] = [];
    for (let nowMs = atMs; nowMs < atMs + 10 * MINUTE_MS; nowMs += 100) {
      const out = letOut(flow, nowMs, probes.length);
      expect(out.length).toBeLessThanOrEqual(1);
      if (out.length === 0) continue;
      probes.push(nowMs - atMs);
      expect(flow.room(EP, nowMs + MINUTE_MS)).toBe(0); // not another one while this is under way
      flow.settled(EP, out[0] ?? -1, "failed", nowMs + 50);
    }
    expect(probes[0]).toBe(5_000);
    expect(probes.filter((at) => at > 9 * MINUTE_MS)).toHaveLength(2);
    expect(probes.length).toBeLessThan(25);
  });

  it("closes with the first success, and lets what waited out slowly at first", () => {
    const { flow, atMs } = opened();
    let nowMs = atMs + 6_000;
    const [probe] = letOut(flow, nowMs);
    expect(flow.settled(EP, probe ?? -1, "succeeded", nowMs)).toBe("closed");
    expect(flow.circuitOf(EP)).toBeNull();
    const rounds: number[] = [];
    for (let round = 0; round < 8; round++, nowMs += 100) {
      const out = letOut(flow, nowMs, 100 * round);
      rounds.push(out.length);
      for (const offset of out) flow.settled(EP, offset, "succeeded", nowMs);
    }
    expect(rounds).toEqual([1, 2, 4, 8, 16, 16, 16, 16]);
    expect(flow.isFree(EP)).toBe(false);
    expect(flow.emptied(EP)).toBe(true);
    expect(flow.isFree(EP)).toBe(true);
  });

  it("opens again when the endpoint falls over what it gets after it has closed", () => {
    const { flow, atMs } = opened();
    const nowMs = atMs + 6_000;
    flow.settled(EP, letOut(flow, nowMs)[0] ?? -1, "succeeded", nowMs);
    flow.settled(EP, letOut(flow, nowMs, 10)[0] ?? -1, "failed", nowMs);
    expect(flow.settled(EP, letOut(flow, nowMs, 20)[0] ?? -1, "failed", nowMs)).toBe("opened");
  });

  it("is open after a restart as it was", () => {
    const { flow, atMs } = opened();
    const circuit = flow.circuitOf(EP);
    if (circuit === null) throw new Error("it is open");
    const restarted = new FlowControl(() => 0.5, [[EP, circuit]]);
    expect(restarted.room(EP, atMs)).toBe(0);
    expect(restarted.room(EP, circuit.probeAtMs)).toBe(1);
  });
});

describe("an endpoint that has as many under way as it may", () => {
  it("gets fewer at once, after a pause, and one more after each eight that succeed", () => {
    const flow = new FlowControl(() => 0.5, []);
    flow.settled(EP, 0, "busy", 1_000);
    expect(flow.isFree(EP)).toBe(false);
    expect(flow.room(EP, 1_500)).toBe(0);
    const out = letOut(flow, 2_000, 10);
    expect(out).toHaveLength(4);
    for (const offset of out) flow.settled(EP, offset, "succeeded", 2_100);
    expect(flow.room(EP, 2_100)).toBe(4);
    for (let offset = 20; offset < 24; offset++) flow.settled(EP, offset, "succeeded", 2_200);
    expect(flow.room(EP, 2_200)).toBe(5);
  });

  it("does not wait while some are under way: the end of one lets another out", () => {
    const flow = new FlowControl(() => 0.5, []);
    flow.drain(EP);
    const [first] = letOut(flow, 0);
    flow.settled(EP, 1, "busy", 0);
    for (let offset = 2; offset < 8; offset++) flow.settled(EP, offset, "busy", 0);
    expect(flow.room(EP, 0)).toBe(0);
    flow.settled(EP, first ?? -1, "succeeded", 10);
    expect(flow.room(EP, 10)).toBe(1);
  });
});

it("never lets more out than the window, whatever happens, and counts none twice", () => {
  const outcomes = fc.constantFrom("succeeded", "failed", "busy", "not-made");
  fc.assert(
    fc.property(fc.array(fc.tuple(outcomes, fc.integer({ min: 0, max: 3_000 })), { maxLength: 200 }), (steps) => {
      const flow = new FlowControl(() => 0.5, []);
      flow.drain(EP);
      const underWay: number[] = [];
      let nowMs = 0;
      let next = 0;
      for (const [outcome, waitMs] of steps) {
        nowMs += waitMs;
        const out = letOut(flow, nowMs, next);
        next += out.length;
        underWay.push(...out);
        if (underWay.length > 16) return false;
        const done = underWay.shift();
        if (done !== undefined) flow.settled(EP, done, outcome, nowMs);
      }
      while (underWay.length > 0) flow.settled(EP, underWay.shift() ?? -1, "succeeded", nowMs);
      return flow.emptied(EP);
    }),
  );
});
