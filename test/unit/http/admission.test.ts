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

/** Busy for some seconds at a rate; never empty, so that what is measured is what could be done. */
function work(admission: Admission, perSecond: number, seconds: number): void {
  const underWay = Array.from({ length: 100 }, () => admission.enter(KIB, 0));
  for (let done = 0; done < perSecond * seconds; done++) {
    const nowMs = (done * 1000) / perSecond;
    underWay.shift()?.leave(nowMs);
    underWay.push(admission.enter(KIB, nowMs));
  }
  for (const one of underWay) one?.leave(seconds * 1000);
}

describe("the admission of publishes", () => {
  it("lets a burst in before anything is measured, and no more than that", () => {
    const admission = new Admission();
    const admitted = enterUntilRefused(admission, KIB, 0);
    expect(admitted).toHaveLength(2_000);
    admitted[0]?.leave(10);
    admitted[0]?.leave(10);
    expect(enterUntilRefused(admission, KIB, 10)).toHaveLength(1);
  });

  it("lets in what is answered within two seconds at the rate it measured", () => {
    const admission = new Admission();
    work(admission, 2_500, 5);
    const room = enterUntilRefused(admission, KIB, 6_000).length;
    expect(room).toBeGreaterThan(4_800);
    expect(room).toBeLessThan(5_200);
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
