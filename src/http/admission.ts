/** A publish that is under way; `leave` is called once it is answered. */
export type Admitted = { readonly leave: (nowMs: number) => void };

type Holder = { readonly bytes: number; readonly sinceMs: number };

/** What is let in is to be answered within this at the rate that was measured. */
const MAX_WAIT_SECONDS = 2;
/** A burst is let in before anything is measured; and no measure lets more in than memory has room for. */
const MIN_UNDER_WAY = 2_000;
const MAX_UNDER_WAY = 8_000;
const MAX_BYTES_UNDER_WAY = 64 * 1024 * 1024;
/** No publish lasts this long: its caller left, and its request was ended without a word. */
const ABANDONED_AFTER_MS = 30_000;
const MEASURE_MS = 500;
const NEW_SHARE = 0.3;

/**
 * Lets publishes in as far as there is room for them: as many as are answered in two seconds, and as many bytes as fit
 * the memory of an isolate. Pure: the time is passed in.
 */
export class Admission {
  /** In the order of their coming, so that the oldest are first. */
  readonly #underWay = new Set<Holder>();
  #bytes = 0;
  #perSecond = 0;
  #answered = 0;
  #measuredFromMs = 0;

  get underWay(): number {
    return this.#underWay.size;
  }

  /** Null when there is no room. */
  enter(bytes: number, nowMs: number): Admitted | null {
    this.#forgetAbandoned(nowMs);
    const room = Math.min(MAX_UNDER_WAY, Math.max(MIN_UNDER_WAY, Math.floor(this.#perSecond * MAX_WAIT_SECONDS)));
    const fits = this.#underWay.size < room && (this.#underWay.size === 0 || this.#bytes + bytes <= MAX_BYTES_UNDER_WAY);
    if (!fits) return null;
    if (this.#underWay.size === 0) this.#beginMeasure(nowMs);
    const holder: Holder = { bytes, sinceMs: nowMs };
    this.#underWay.add(holder);
    this.#bytes += bytes;
    return {
      leave: (leftAtMs) => {
        if (this.#remove(holder)) this.#measure(leftAtMs);
      },
    };
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

  /** The rate is that of busy times: an idle moment says nothing of what could be done. */
  #measure(nowMs: number): void {
    this.#answered++;
    const spentMs = nowMs - this.#measuredFromMs;
    if (spentMs < MEASURE_MS) return;
    const perSecond = (this.#answered * 1000) / spentMs;
    this.#perSecond = this.#perSecond === 0 ? perSecond : (1 - NEW_SHARE) * this.#perSecond + NEW_SHARE * perSecond;
    this.#beginMeasure(nowMs);
  }

  #beginMeasure(nowMs: number): void {
    this.#answered = 0;
    this.#measuredFromMs = nowMs;
  }
}
