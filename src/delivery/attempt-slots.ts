/** Attempts that may still get a quick answer, per isolate: more than a stream has out at once, so that few ever wait. */
const MAX_QUICK_ATTEMPTS = 512;
/** Of which one endpoint may have this many: there is always room for others, however much waits for it (I6). */
const MAX_QUICK_PER_ENDPOINT = 128;
/** All attempts, slow ones included: bounds sockets and memory. */
const MAX_ATTEMPTS = 2048;
/** Slow attempts of one endpoint; beyond it, that endpoint waits and leaves the room to the others (I6). */
const MAX_SLOW_PER_ENDPOINT = 32;
/** An attempt without an answer after this long counts as slow; later where all take long, for then it is us. */
const SLOW_AFTER_MS = { atLeast: 300, atMost: 2_000, timesTheUsual: 4 } as const;
/** Of each attempt that ends, in what is usual. */
const SHARE_OF_USUAL = 0.02;
/** No attempt lasts this long: its request was killed and could not give the slot back. */
const ABANDONED_AFTER_MS = 60_000;

/** `endpoint-full`: as many of the quick attempts as one endpoint may have are its own. */
export type SlotRefusal = "no-room" | "endpoint-full" | "endpoint-busy";

/** A permit for one attempt; `release` is called once it is over. */
export type Slot = { release(): void };

type Holder = { readonly endpointId: string; readonly sinceMs: number };

/**
 * The bound on attempts in flight in one isolate. It is only ever tried, never waited on: a stateless request that
 * waits for another one's promise is taken for hung. An attempt that turns slow gives its place among the quick
 * ones back, so that endpoints that hang can not use up the room of those that answer. What is slow is seen from what
 * attempts usually take: in an isolate that is itself behind, no endpoint is blamed for it.
 */
export class AttemptSlots {
  /** Both in the order of acquisition, so that the oldest come first. */
  readonly #quick = new Set<Holder>();
  readonly #slow = new Set<Holder>();
  readonly #quickPerEndpoint = new Map<string, number>();
  readonly #slowPerEndpoint = new Map<string, number>();

  readonly #now: () => number;
  #usualMs = 0;
  #isClosed = false;
  #lastReleasedAtMs = 0;

  constructor(now: () => number) {
    this.#now = now;
  }

  get isClosed(): boolean {
    return this.#isClosed;
  }

  get inUse(): number {
    return this.#quick.size + this.#slow.size;
  }

  /** When an attempt ended last, ms. */
  get lastReleasedAtMs(): number {
    return this.#lastReleasedAtMs;
  }

  /** From now on no attempt begins here: the process is about to end. */
  close(): void {
    this.#isClosed = true;
  }

  tryAcquire(endpointId: string, nowMs: number): Slot | SlotRefusal {
    if (this.#isClosed) return "no-room";
    this.#age(nowMs);
    if ((this.#slowPerEndpoint.get(endpointId) ?? 0) >= MAX_SLOW_PER_ENDPOINT) return "endpoint-busy";
    if (this.#quick.size >= MAX_QUICK_ATTEMPTS || this.#quick.size + this.#slow.size >= MAX_ATTEMPTS) return "no-room";
    if ((this.#quickPerEndpoint.get(endpointId) ?? 0) >= MAX_QUICK_PER_ENDPOINT) return "endpoint-full";
    const holder: Holder = { endpointId, sinceMs: nowMs };
    this.#quick.add(holder);
    add(this.#quickPerEndpoint, endpointId, 1);
    return {
      release: () => {
        const endedAtMs = this.#now();
        this.#lastReleasedAtMs = endedAtMs;
        if (this.#releaseQuick(holder) || this.#releaseSlow(holder)) this.#learn(endedAtMs - holder.sinceMs);
      },
    };
  }

  #learn(tookMs: number): void {
    this.#usualMs += (Math.min(tookMs, SLOW_AFTER_MS.atMost) - this.#usualMs) * SHARE_OF_USUAL;
  }

  #age(nowMs: number): void {
    const { atLeast, atMost, timesTheUsual } = SLOW_AFTER_MS;
    const slowAfterMs = Math.min(atMost, Math.max(atLeast, this.#usualMs * timesTheUsual));
    for (const holder of this.#quick) {
      if (nowMs - holder.sinceMs < slowAfterMs) break;
      this.#releaseQuick(holder);
      this.#slow.add(holder);
      add(this.#slowPerEndpoint, holder.endpointId, 1);
    }
    for (const holder of this.#slow) {
      if (nowMs - holder.sinceMs < ABANDONED_AFTER_MS) break;
      this.#releaseSlow(holder);
    }
  }

  #releaseQuick(holder: Holder): boolean {
    const isQuick = this.#quick.delete(holder);
    if (isQuick) add(this.#quickPerEndpoint, holder.endpointId, -1);
    return isQuick;
  }

  #releaseSlow(holder: Holder): boolean {
    const isSlow = this.#slow.delete(holder);
    if (isSlow) add(this.#slowPerEndpoint, holder.endpointId, -1);
    return isSlow;
  }
}

function add(counts: Map<string, number>, endpointId: string, change: 1 | -1): void {
  const count = (counts.get(endpointId) ?? 0) + change;
  if (count === 0) counts.delete(endpointId);
  else counts.set(endpointId, count);
}
