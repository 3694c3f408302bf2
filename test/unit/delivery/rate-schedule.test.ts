import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { RateSchedule } from "../../../src/delivery/rate-schedule.ts";

/** The most that fall into any window of a second. */
function busiestSecond(timesMs: readonly number[]): number {
  const sorted = [...timesMs].sort((left, right) => left - right);
  return Math.max(0, ...sorted.map((start) => sorted.filter((at) => at >= start && at < start + 1000).length));
}

describe("the turns of an endpoint with a rate limit", () => {
  it("never put more into a second than its rate, however they are asked for", () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 80 }),
        fc.array(fc.record({ count: fc.integer({ min: 1, max: 60 }), gapMs: fc.integer({ min: 0, max: 900 }), returning: fc.boolean() }), { maxLength: 25 }),
        (perSecond, calls) => {
          const schedule = new RateSchedule();
          const sent: number[] = [];
          let nowMs = 1_000_000;
          for (const { count, gapMs, returning } of calls) {
            nowMs += gapMs;
            const { delaysMs, laterMs } = schedule.reserve(count, perSecond, returning, nowMs);
            expect(delaysMs.length + laterMs.length).toBe(count);
            sent.push(...delaysMs.map((delayMs) => nowMs + delayMs));
          }
          return busiestSecond(sent) <= perSecond;
        },
      ),
    );
  });

  it("send a single request at once", () => {
    expect(new RateSchedule().reserve(1, 1, false, 5_000)).toEqual({ delaysMs: [0], laterMs: [] });
  });

  it("tell a backlog to come back spread over the time it takes", () => {
    const { delaysMs, laterMs } = new RateSchedule().reserve(500, 50, false, 0);
    expect(delaysMs.length).toBeLessThan(50);
    expect(laterMs.at(-1)).toBeGreaterThan(9_500);
    expect(laterMs.at(-1)).toBeLessThan(12_000);
    expect(laterMs).toEqual([...laterMs].sort((left, right) => left - right));
  });

  it("do not send one that returned to the end of the line again", () => {
    const schedule = new RateSchedule();
    schedule.reserve(5_000, 50, false, 0);
    const { laterMs } = schedule.reserve(60, 50, true, 1_000);
    expect(Math.max(...laterMs)).toBeLessThan(3_000);
  });

  it("go on when the clock is set back", () => {
    const schedule = new RateSchedule();
    schedule.reserve(1, 10, false, 1_000_000_000);
    const { delaysMs } = schedule.reserve(1, 10, true, 1_000_000);
    const { delaysMs: aSecondLater } = schedule.reserve(1, 10, true, 1_001_000);
    expect(delaysMs.length + aSecondLater.length).toBeGreaterThan(0);
  });
});
