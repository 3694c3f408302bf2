import { describe, expect, it } from "vitest";
import { recoveredAfterMs } from "../../bench/rows/recovery.ts";
import { quantile, spreadOf } from "../../bench/statistics.ts";

describe("a figure of several runs", () => {
  it("is their median, with the lowest and the highest", () => {
    expect(spreadOf([3, 1, 10])).toEqual({ median: 3, min: 1, max: 10, runs: [3, 1, 10] });
  });

  it("is the middle between two of an even number", () => {
    expect(spreadOf([4, 1, 2, 9]).median).toBe(3);
  });

  it("is none without runs", () => {
    expect(() => spreadOf([])).toThrow("no runs");
  });
});

describe("a quantile", () => {
  const hundred = Array.from({ length: 100 }, (_, index) => index + 1);

  it.each([[0.5, 50], [0.99, 99], [1, 100], [0, 1]])("%f of a hundred values is the nearest rank", (share, value) => {
    expect(quantile(hundred, share)).toBe(value);
  });

  it("of nothing is not a number", () => {
    expect(quantile([], 0.5)).toBeNaN();
  });
});

describe("the recovery after an overload", () => {
  /** A publish each 10 ms from the time on, `latenciesMs` each for a second. */
  const published = (fromMs: number, latenciesMs: readonly number[]) =>
    latenciesMs.flatMap((latencyMs, window) =>
      Array.from({ length: 100 }, (_, index) => ({ sentAtMs: fromMs + window * 1_000 + index * 10, latencyMs })));

  it("ends with what is slow", () => {
    expect(recoveredAfterMs(published(1000, [900, 300, 4, 4]), 1000, 5)).toBe(2000);
  });

  it("is over only once it stays so", () => {
    expect(recoveredAfterMs(published(1000, [4, 4, 90, 4]), 1000, 5)).toBe(3000);
  });

  it("does not wait for one message in a hundred", () => {
    const timeline = published(0, [4, 4, 4]).map((one, index) => (index === 250 ? { ...one, latencyMs: 90 } : one));
    expect(recoveredAfterMs(timeline, 0, 5)).toBe(0);
  });

  it("takes no time where nothing was slow, whatever was before the end", () => {
    expect(recoveredAfterMs([...published(0, [900]), ...published(1000, [9, 4])], 1000, 5)).toBe(0);
  });

  it("tolerates twice what is normal", () => {
    expect(recoveredAfterMs(published(0, [40, 4]), 0, 20)).toBe(0);
    expect(recoveredAfterMs(published(0, [41, 4]), 0, 20)).toBe(1000);
  });

  it("is not known where it is slow to the end, or too little was published", () => {
    expect(recoveredAfterMs(published(0, [4, 900]), 0, 5)).toBeNull();
    expect(recoveredAfterMs(published(0, [4]), 600, 5)).toBeNull();
  });
});
