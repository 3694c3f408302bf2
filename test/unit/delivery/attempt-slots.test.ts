import { beforeEach, describe, expect, it } from "vitest";
import { AttemptSlots, type Slot } from "../../../src/delivery/attempt-slots.ts";

let now = 0;
beforeEach(() => void (now = 0));

function acquireUntilRefused(slots: AttemptSlots, endpointId: string, nowMs: number): { held: Slot[]; refusal: string } {
  const held: Slot[] = [];
  for (let count = 0; count < 10_000; count++) {
    const slot = slots.tryAcquire(endpointId, nowMs);
    if (typeof slot === "string") return { held, refusal: slot };
    held.push(slot);
  }
  throw new Error("it never refused");
}

describe("the bound on attempts in flight", () => {
  it("refuses beyond its room and gives a place back when an attempt ends", () => {
    const slots = new AttemptSlots(() => now);
    const held = Array.from({ length: 4 }, (_, index) => acquireUntilRefused(slots, `ep_${index}`, 0).held).flat();
    expect(held).toHaveLength(512);
    expect(slots.tryAcquire("ep_other", 0)).toBe("no-room");
    held[0]?.release();
    expect(typeof slots.tryAcquire("ep_other", 0)).toBe("object");
    expect(slots.tryAcquire("ep_other", 0)).toBe("no-room");
  });

  it("leaves room to others, however much one endpoint has to get", () => {
    const slots = new AttemptSlots(() => now);
    const { held, refusal } = acquireUntilRefused(slots, "ep_a", 0);
    expect({ refusal, held: held.length }).toEqual({ refusal: "endpoint-full", held: 128 });
    expect(acquireUntilRefused(slots, "ep_b", 0).held).toHaveLength(128);
  });

  it("does not let endpoints that hang use up the room of the others", () => {
    const slots = new AttemptSlots(() => now);
    for (let endpoint = 0; endpoint < 4; endpoint++) {
      for (let count = 0; count < 128; count++) slots.tryAcquire(`ep_hangs${endpoint}`, 0);
    }
    expect(slots.tryAcquire("ep_answers", 0)).toBe("no-room");
    expect(typeof slots.tryAcquire("ep_answers", 300)).toBe("object");
    expect(slots.tryAcquire("ep_hangs1", 300)).toBe("endpoint-busy");
  });

  it("blames no endpoint for what all attempts take", () => {
    const slots = new AttemptSlots(() => now);
    for (let attempt = 0; attempt < 200; attempt++) {
      const slot = slots.tryAcquire("ep_a", now);
      now += 400;
      if (typeof slot === "object") slot.release();
    }
    const { held } = acquireUntilRefused(slots, "ep_a", now);
    now += 1_000;
    expect(slots.tryAcquire("ep_a", now)).toBe("endpoint-full"); // and not busy
    for (const slot of held) slot.release();
    acquireUntilRefused(slots, "ep_a", now);
    expect(slots.tryAcquire("ep_a", now + 2_000)).toBe("endpoint-busy");
  });

  it("counts a slow attempt out when it ends, once", () => {
    const slots = new AttemptSlots(() => now);
    const held = Array.from({ length: 32 }, () => slots.tryAcquire("ep_a", 0));
    expect(slots.tryAcquire("ep_a", 400)).toBe("endpoint-busy");
    const [first] = held;
    if (typeof first === "object") {
      first.release();
      first.release();
    }
    expect(typeof slots.tryAcquire("ep_a", 400)).toBe("object");
  });

  it("forgets attempts whose request was killed", () => {
    const slots = new AttemptSlots(() => now);
    for (let count = 0; count < 32; count++) slots.tryAcquire("ep_a", 0);
    expect(slots.tryAcquire("ep_a", 59_000)).toBe("endpoint-busy");
    expect(typeof slots.tryAcquire("ep_a", 60_001)).toBe("object");
  });
});
