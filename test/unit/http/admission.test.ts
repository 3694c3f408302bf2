import { describe, expect, it } from "vitest";
import { Admission, type Admitted } from "../../../src/http/admission.ts";

const KIB = 1024;
const MIB = 1024 * KIB;

function enterUntilRefused(admission: Admission, bytes: number, nowMs: number): Admitted[] {
  const admitted: Admitted[] = [];
  for (;;) {
    const one = admission.enter(bytes, nowMs);
    if (one === null) return admitted;
    admitted.push(one);
  }
}

/** Busy for some seconds: so many under way all the time, worked off at a rate. */
function work(admission: Admission, { underWay, perSecond, seconds, fromMs = 0 }: { underWay: number; perSecond: number; seconds: number; fromMs?: number }): number {
  const inside: Admitted[] = [];
  let nowMs = fromMs;
  for (let done = 0; done < perSecond * seconds; done++) {
    nowMs = fromMs + (done * 1000) / perSecond;
    while (inside.length < underWay) {
      const one = admission.enter(KIB, nowMs);
      if (one === null) break;
      inside.push(one);
    }
    inside.shift()?.leave(nowMs, true);
  }
  for (const one of inside) one.leave(nowMs, false);
  return nowMs;
}

describe("the admission of publishes", () => {
  it("lets a burst in before anything is measured, and no more than that", () => {
    const admission = new Admission();
    const admitted = enterUntilRefused(admission, KIB, 0);
    expect(admitted).toHaveLength(1_000);
    admitted[0]?.leave(10, true);
    admitted[0]?.leave(10, true);
    expect(enterUntilRefused(admission, KIB, 10)).toHaveLength(1);
  });

  it("lets in what is answered within half a second, however much is asked", () => {
    const admission = new Admission();
    const nowMs = work(admission, { underWay: 100_000, perSecond: 1_000, seconds: 10 });
    const room = enterUntilRefused(admission, KIB, nowMs).length;
    expect(room).toBeGreaterThan(300);
    expect(room).toBeLessThan(700);
  });

  it("lets more in than a burst where that is worked off in time", () => {
    const admission = new Admission();
    const nowMs = work(admission, { underWay: 900, perSecond: 5_000, seconds: 5 });
    const room = enterUntilRefused(admission, KIB, nowMs).length;
    expect(room).toBeGreaterThan(4_800);
    expect(room).toBeLessThan(5_200);
    const fast = new Admission();
    expect(enterUntilRefused(fast, KIB, work(fast, { underWay: 900, perSecond: 50_000, seconds: 1 }))).toHaveLength(8_000);
  });

  it("lets enough in to go on where everything takes long, and a burst again once nobody is refused", () => {
    const admission = new Admission();
    const nowMs = work(admission, { underWay: 100_000, perSecond: 100, seconds: 60 });
    expect(enterUntilRefused(admission, KIB, nowMs)).toHaveLength(250);
    const later = new Admission();
    const endedAtMs = work(later, { underWay: 100_000, perSecond: 100, seconds: 60 });
    const calmAtMs = work(later, { underWay: 10, perSecond: 100, seconds: 1, fromMs: endedAtMs });
    expect(enterUntilRefused(later, KIB, calmAtMs)).toHaveLength(1_000);
  });

  it("measures only what is accepted: what is refused for its form takes no time", () => {
    const admission = new Admission();
    const nowMs = work(admission, { underWay: 100_000, perSecond: 1_000, seconds: 10 });
    for (let later = 0; later < 1_000; later++) admission.enter(KIB, nowMs + later)?.leave(nowMs + later, false);
    const room = enterUntilRefused(admission, KIB, nowMs + 999).length;
    expect(room).toBeGreaterThan(300);
    expect(room).toBeLessThan(700);
  });

  it("lets in no more bytes than there is memory for, and one message however large", () => {
    const admission = new Admission();
    expect(enterUntilRefused(admission, MIB, 0)).toHaveLength(64);
    expect(new Admission().enter(100 * MIB, 0)).not.toBeNull();
  });

  it("forgets those whose request was ended without a word", () => {
    const admission = new Admission();
    enterUntilRefused(admission, KIB, 0);
    expect(admission.enter(KIB, 29_000)).toBeNull();
    expect(admission.enter(KIB, 30_000)).not.toBeNull();
    expect(admission.underWay).toBe(1);
  });
});
