const RealDate = Date;
let offsetMs = 0;

/** From now on the clock of the isolate is off by this much. */
export function setClock(ms: number): void {
  offsetMs = ms;
}

class SkewedDate extends RealDate {
  constructor(...given: unknown[]) {
    if (given.length === 0) super(SkewedDate.now());
    else super(...(given as [number]));
  }

  static override now(): number {
    return RealDate.now() + offsetMs;
  }
}

globalThis.Date = SkewedDate as DateConstructor;
