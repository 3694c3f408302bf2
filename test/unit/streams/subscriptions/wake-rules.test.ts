import { describe, expect, it } from "vitest";
import {
  announced, begin, claimed, ended, extended, isCurrent, isLeaseOver, NEVER_WOKEN, nextEventMs, notAnnounced, type WakeState,
} from "../../../../src/streams/subscriptions/wake-rules.ts";

const WEBHOOK = { type: "webhook", url: "https://example.com/" } as const;
const PULLED = { type: "pull-wake", wakeStream: "wake" } as const;
const LEASE_MS = 30_000;
const first = begin(NEVER_WOKEN, "w1", 1_000);

describe("a wake", () => {
  it("is announced at once, under a generation that is one more each time", () => {
    expect(first).toMatchObject({ generation: 1, wake: { id: "w1", stage: "announcing" } });
    expect(nextEventMs(first)).toBe(1_000);
    expect(begin(ended(first), "w2", 2_000)).toMatchObject({ generation: 2, wake: { id: "w2" } });
  });

  it("is its webhook's for the lease, and nobody's on a stream until somebody claims it", () => {
    const told = announced(first, "w1", WEBHOOK, LEASE_MS, 2_000);
    expect([told.wake?.stage, nextEventMs(told)]).toEqual(["held", 32_000]);
    const written = announced(first, "w1", PULLED, LEASE_MS, 2_000);
    expect([written.wake?.stage, nextEventMs(written)]).toEqual(["announced", null]);
    const taken = claimed(written, "worker", LEASE_MS, 5_000);
    expect([taken.wake?.holder, nextEventMs(taken)]).toEqual(["worker", 35_000]);
    expect([isLeaseOver(taken, 34_999), isLeaseOver(taken, 35_000)]).toEqual([false, true]);
    expect(nextEventMs(extended(taken, LEASE_MS, 20_000))).toBe(50_000);
  });

  it("is announced again after 1 s, then twice as long each time up to 60 s, a fifth more or less", () => {
    const delays = (random: number): number[] => {
      let state: WakeState = first;
      return Array.from({ length: 9 }, () => {
        state = notAnnounced(state, "w1", "no", 0, random);
        return nextEventMs(state) ?? 0;
      });
    };
    expect(delays(0.5)).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
    expect(delays(0)[6]).toBe(48_000);
    expect(delays(1)[6]).toBe(72_000);
    const failing = notAnnounced(first, "w1", "no", 0, 0.5);
    expect(failing).toMatchObject({ failures: 1, lastError: "no", generation: 1, wake: { id: "w1" } });
    expect(announced(failing, "w1", WEBHOOK, LEASE_MS, 0)).toMatchObject({ failures: 0, lastError: null });
  });

  it("does not change when what its announcement came to is about an earlier one, or it was answered meanwhile", () => {
    const second = begin(ended(first), "w2", 0);
    expect(notAnnounced(second, "w1", "no", 0, 0)).toEqual(second);
    expect(announced(second, "w1", WEBHOOK, LEASE_MS, 0).wake).toEqual(second.wake);
    const answered = extended(first, LEASE_MS, 100);
    expect(notAnnounced(answered, "w1", "timed out", 200, 0)).toEqual(answered);
    expect(announced(answered, "w1", WEBHOOK, LEASE_MS, 200)).toEqual(answered);
    expect(announced(ended(first), "w1", WEBHOOK, LEASE_MS, 200).wake).toBeNull();
  });

  it("fences off what names another wake or generation, or comes after its end", () => {
    expect(isCurrent(first, { wakeId: "w1", generation: 1 })).toBe(true);
    expect(isCurrent(first, { wakeId: "w0", generation: 1 })).toBe(false);
    expect(isCurrent(first, { wakeId: "w1", generation: 2 })).toBe(false);
    expect(isCurrent(ended(first), { wakeId: "w1", generation: 1 })).toBe(false);
  });
});
