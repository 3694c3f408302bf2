/** A publish that is under way; `leave` is called once it is answered: only what is accepted says how much can be done. */
export type Admitted = { readonly leave: (nowMs: number, isAccepted: boolean) => void };

type Holder = { readonly bytes: number; readonly sinceMs: number };

/** Let in as a burst. */
const BURST = 1_000;
/** A disk that pauses for some seconds is no overload of a few publishers; for more there is no memory. */
const LIMITS = { least: 250, most: 8_000 } as const;
const MAX_BYTES_UNDER_WAY = 64 * 1024 * 1024;
/** Where half of the publishes take longer, more come than are worked off. */
const OVERLOADED_MS = 1_000;
/** Then what is let in is to be answered within this. */
const TARGET_MS = 500;
const MEASURE_MS = 250;
/** No publish lasts this long: its caller left, and its request was ended without a word. */
const ABANDONED_AFTER_MS = 30_000;

/**
 * Lets publishes in as far as there is room for them: bursts, and beyond them what is answered in a second; in an
 * overload, which is seen from how long they take, only what is answered in half a second; never more bytes than fit the
 * memory of an isolate. Pure: the time is passed in.
 */
export class Admission {
  /** In the order of their coming, so that the oldest are first. */
  readonly #underWay = new Set<Holder>();
  #bytes = 0;
  #perSecond = 0;
  #isOverloaded = false;
  /** Since {@link #measuredFromMs}: how long the accepted took, ms, and whether any was refused. */
  #took: number[] = [];
  #hasRefused = false;
  #measuredFromMs = 0;

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Null when there is no room. */
  enter(bytes: number, nowMs: number): Admitted | null {
    this.#forgetAbandoned(nowMs);
    if (this.#underWay.size === 0) this.#beginMeasure(nowMs);
    const fits = this.#underWay.size < this.#room() && (this.#underWay.size === 0 || this.#bytes + bytes <= MAX_BYTES_UNDER_WAY);
    if (!fits) {
      this.#hasRefused = true;
      return null;
    }
    const holder: Holder = { bytes, sinceMs: nowMs };
    this.#underWay.add(holder);
    this.#bytes += bytes;
    return {
      leave: (leftAtMs, isAccepted) => {
        if (this.#remove(holder) && isAccepted) this.#measure(leftAtMs - holder.sinceMs, leftAtMs);
      },
    };
  }

  #room(): number {
    const room = this.#isOverloaded ? (this.#perSecond * TARGET_MS) / 1000 : Math.max(BURST, this.#perSecond);
    return Math.min(LIMITS.most, Math.max(LIMITS.least, room));
  }

  #remove(holder: Holder): boolean {
    const wasThere = this.#underWay.delete(holder);
    if (wasThere) this.#bytes -= holder.bytes;
    return wasThere;
  }

  #forgetAbandoned(nowMs: number): void {
    for (const holder of this.#underWay) {
      if (nowMs - holder.sinceMs < ABANDONED_AFTER_MS) return;
      this.#remove(holder);
    }
  }

  /** An overload is over once nobody was refused for a while. */
  #measure(tookMs: number, nowMs: number): void {
    this.#took.push(tookMs);
    const spentMs = nowMs - this.#measuredFromMs;
    if (spentMs < MEASURE_MS) return;
    this.#perSecond = (this.#took.length * 1000) / spentMs;
    const medianMs = this.#took.sort((a, b) => a - b)[this.#took.length >> 1] ?? 0;
    this.#isOverloaded = medianMs > OVERLOADED_MS || (this.#isOverloaded && this.#hasRefused);
    this.#beginMeasure(nowMs);
  }

  /** Idle moments say nothing of what could be done. */
  #beginMeasure(nowMs: number): void {
    this.#took = [];
    this.#hasRefused = false;
    this.#measuredFromMs = nowMs;
  }
}
