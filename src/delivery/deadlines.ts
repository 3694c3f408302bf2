/** Attempts that begin within this time share a deadline, that of the last of them. */
const SHARED_MS = 200;

/** What an attempt is given: `signal` is aborted when its time is over. */
export type Deadline = { readonly signal: AbortSignal; /** The attempt is over, whatever came of it. */ end(): void };

type Bucket = { readonly abort: AbortController; readonly sinceMs: number; readonly timer: ReturnType<typeof setTimeout>; users: number };

/**
 * Deadlines of the attempts of one call. A timer and a signal for each attempt would cost more than signing it, so
 * those that begin together share them: a deadline may come up to 200 ms late, never early.
 */
export class Deadlines {
  readonly #now: () => number;
  /** The newest of each length, in ms. */
  readonly #buckets = new Map<number, Bucket>();

  constructor(now: () => number) {
    this.#now = now;
  }

  begin(afterMs: number): Deadline {
    const bucket = this.#bucketOf(afterMs);
    bucket.users++;
    return {
      signal: bucket.abort.signal,
      end: () => {
        bucket.users--;
        if (bucket.users > 0) return;
        // AbortSignal.timeout() would keep its timer until it fires, answered or not.
        clearTimeout(bucket.timer);
        if (this.#buckets.get(afterMs) === bucket) this.#buckets.delete(afterMs);
      },
    };
  }

  #bucketOf(afterMs: number): Bucket {
    const nowMs = this.#now();
    const known = this.#buckets.get(afterMs);
    if (known !== undefined && nowMs - known.sinceMs < SHARED_MS) return known;
    const abort = new AbortController();
    const timer = setTimeout(() => abort.abort(), afterMs + SHARED_MS);
    const bucket: Bucket = { abort, sinceMs: nowMs, timer, users: 0 };
    this.#buckets.set(afterMs, bucket);
    return bucket;
  }
}
