/** When each of some requests may go out, in ms from now; `later` are estimates, to be asked again by then. */
export type Pace = { readonly delaysMs: readonly number[]; readonly laterMs: readonly number[] };

/** What is given out at once is sent within this; it stays below the age at which an endpoint must be read again. */
const HORIZON_MS = 900;
/** Requests are spaced for this share of the rate, so that what the network bunches up stays within it. */
const SHARE = 0.9;
/** An estimate is never further away: a rate may be raised. */
const MAX_LATER_MS = 10 * 60 * 1000;

/**
 * Spaces the requests to one endpoint evenly, so that no second has more of them than its rate. Pure: the time is
 * passed in. What finds no place within the horizon is told when its turn will be about, one after the other, so that
 * a backlog comes back spread and not all at once.
 */
export class RateSchedule {
  #freeAtMs = 0;
  #promisedUntilMs = 0;

  /** @param returning they were told a time before: they do not go to the end of the line again */
  reserve(count: number, perSecond: number, returning: boolean, nowMs: number): Pace {
    const intervalMs = 1000 / (perSecond * SHARE);
    // Turns are never given out further ahead: the clock was set back.
    this.#freeAtMs = Math.min(this.#freeAtMs, nowMs + HORIZON_MS + intervalMs);
    const delaysMs: number[] = [];
    const laterMs: number[] = [];
    for (let index = 0; index < count; index++) {
      const atMs = Math.max(this.#freeAtMs, nowMs);
      if (atMs - nowMs <= HORIZON_MS) {
        delaysMs.push(atMs - nowMs);
        this.#freeAtMs = atMs + intervalMs;
        continue;
      }
      if (!returning) this.#promisedUntilMs = Math.max(this.#promisedUntilMs, this.#freeAtMs) + intervalMs;
      const promisedMs = returning ? this.#freeAtMs + laterMs.length * intervalMs : this.#promisedUntilMs;
      laterMs.push(Math.min(promisedMs - nowMs, MAX_LATER_MS));
    }
    return { delaysMs, laterMs };
  }
}
