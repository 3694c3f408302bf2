import { describe, expect, it } from "vitest";
import { DEFAULT_RETRY_SCHEDULE_SECONDS, nextAttemptAt, parseRetryAfter } from "../../../src/delivery/retry-policy.ts";

const NOW = Date.parse("2026-11-17T09:30:00Z");
const MIDDLE = 0.5; // no jitter

describe("the retry schedule", () => {
  it("takes its steps in order and ends after the last", () => {
    const at = (attemptNumber: number) => nextAttemptAt({ attemptNumber, retryAfterMs: null }, [5, 30], NOW, MIDDLE);
    expect([at(1), at(2), at(3)]).toEqual([NOW + 5_000, NOW + 30_000, null]);
  });

  it("makes one attempt only when it is empty", () => {
    expect(nextAttemptAt({ attemptNumber: 1, retryAfterMs: null }, [], NOW, MIDDLE)).toBeNull();
  });

  it("spreads each step by at most 10 % to either side", () => {
    const at = (random: number) => nextAttemptAt({ attemptNumber: 1, retryAfterMs: null }, [100], NOW, random);
    expect(at(0)).toBe(NOW + 90_000);
    expect(at(0.999999)).toBe(NOW + 110_000);
  });

  it("spans about 72 hours by default", () => {
    const hours = DEFAULT_RETRY_SCHEDULE_SECONDS.reduce((sum, step) => sum + step, 0) / 3600;
    expect(hours).toBeGreaterThan(71);
    expect(hours).toBeLessThan(73);
  });

  it("waits as long as Retry-After asks, and never less than its own step", () => {
    const at = (retryAfterMs: number) => nextAttemptAt({ attemptNumber: 1, retryAfterMs }, [60], NOW, MIDDLE);
    expect(at(300_000)).toBe(NOW + 300_000);
    expect(at(1_000)).toBe(NOW + 60_000);
  });

  it("honours Retry-After up to a day", () => {
    const day = 24 * 60 * 60 * 1000;
    expect(nextAttemptAt({ attemptNumber: 1, retryAfterMs: 400 * day }, [60], NOW, MIDDLE)).toBe(NOW + day);
  });
});

describe("Retry-After", () => {
  it.each([
    ["120", 120_000],
    [" 0 ", 0],
    [new Date(NOW + 90_000).toUTCString(), 90_000],
    [null, null],
    ["", null],
    ["-5", null],
    ["1.5", null],
    ["soon", null],
    ["2026-11-17", null],
    [new Date(NOW - 90_000).toUTCString(), null],
    ["9".repeat(40), null],
  ])("reads %j as %j ms", (value, expected) => {
    expect(parseRetryAfter(value, NOW)).toBe(expected);
  });
});
