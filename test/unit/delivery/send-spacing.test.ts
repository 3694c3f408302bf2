import { expect, it } from "vitest";
import { SendSpacing } from "../../../src/delivery/send-spacing.ts";

const busiestSecond = (times: readonly number[]): number =>
  Math.max(...times.map((start) => times.filter((at) => at >= start && at < start + 1000).length));

it("lets what was late catch up without more in any second than the rate", () => {
  const spacing = new SendSpacing();
  const sent: number[] = [];
  // turns of 45 a second; the isolate does nothing from 300 ms to 1,200 ms
  const turns = Array.from({ length: 200 }, (_, index) => Math.round((index * 1000) / 45));
  let due = turns.map((turn) => (turn > 300 && turn < 1_200 ? 1_200 : turn));
  for (let nowMs = 0; due.length > 0; nowMs++) {
    due = due.map((at) => {
      if (at > nowMs) return at;
      const waitMs = spacing.tryStart("ep_1", 50, nowMs);
      if (waitMs === 0) sent.push(nowMs);
      return waitMs === 0 ? Number.NaN : nowMs + waitMs;
    }).filter((at) => !Number.isNaN(at));
  }
  expect(sent).toHaveLength(200);
  expect(busiestSecond(sent)).toBeLessThanOrEqual(50);
  expect(sent.at(-1)).toBeLessThan((turns.at(-1) ?? 0) + 1_000);
});

it("keeps endpoints apart, and nobody waiting for a clock that was set back", () => {
  const spacing = new SendSpacing();
  expect(spacing.tryStart("ep_1", 1, 10_000)).toBe(0);
  expect(spacing.tryStart("ep_2", 1, 10_000)).toBe(0);
  expect(spacing.tryStart("ep_1", 1, 10_000)).toBe(1_042);
  expect(spacing.tryStart("ep_1", 1, 5_000)).toBe(0);
});
