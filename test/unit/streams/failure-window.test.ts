import { describe, expect, it } from "vitest";
import { FailureWindow } from "../../../src/streams/failure-window.ts";

/** Fails every `everyMs` for a while; when it tripped, ms from the start, or null. */
function failFor(window: FailureWindow, lastsMs: number, everyMs: number, succeedsEvery = Infinity): number | null {
  for (let atMs = 0, count = 1; atMs <= lastsMs; atMs += everyMs, count++) {
    if (count % succeedsEvery === 0) window.succeeded(atMs);
    else if (window.failed(atMs)) return atMs;
  }
  return null;
}

describe("the window of failures", () => {
  it("trips once nearly all has failed for half a minute, and not before", () => {
    expect(failFor(new FailureWindow(), 29_900, 100)).toBeNull();
    expect(failFor(new FailureWindow(), 60_000, 100)).toBe(30_000);
  });

  it("does not trip on a few attempts, nor where some succeed", () => {
    expect(failFor(new FailureWindow(), 55_000, 5_000)).toBeNull();
    expect(failFor(new FailureWindow(), 600_000, 100, 3)).toBeNull();
    expect(failFor(new FailureWindow(), 600_000, 100, 10)).not.toBeNull();
  });

  it("forgets what was long ago", () => {
    const window = new FailureWindow();
    failFor(window, 20_000, 100);
    expect(window.failed(1_000_000)).toBe(false);
    expect(window.attempts).toBe(1);
  });

  it("slides: what succeeded before does not hide for long that all fails now", () => {
    const window = new FailureWindow();
    window.failed(0);
    for (let atMs = 0; atMs < 30_000; atMs += 100) window.succeeded(atMs);
    let trippedAtMs = Number.NaN;
    for (let atMs = 30_000; atMs < 300_000 && Number.isNaN(trippedAtMs); atMs += 100) if (window.failed(atMs)) trippedAtMs = atMs;
    expect(trippedAtMs).toBeLessThan(150_000);
  });
});
