/** The share of its life after which a value is read again ahead of time. */
const REFRESH_AT = 0.6;

type Entry<Value> = { readonly value: Value; readonly readAtMs: number; refreshing: boolean };

/**
 * Values an isolate has read lately, by key: none is given out once it is older than `maxAgeMs`, counted from
 * before the read began. Holds values, never promises: a request must not wait for what another one does.
 */
export class RecentReads<Value> {
  readonly #maxAgeMs: number;
  readonly #maxEntries: number;
  readonly #entries = new Map<string, Entry<Value>>();

  #forgottenAtMs = -1;

  constructor(maxAgeMs: number, maxEntries: number) {
    this.#maxAgeMs = maxAgeMs;
    this.#maxEntries = maxEntries;
  }

  get(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    const ageMs = nowMs - entry.readAtMs;
    // One from the future was read before the clock was set back, nobody knows how long ago.
    if (ageMs >= 0 && ageMs < this.#maxAgeMs) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  /**
   * The value, read when there is none that is recent enough. One that will soon be too old is read again in the
   * background, by the one request that noticed it, so that in steady traffic nobody waits for a read.
   */
  async getOrRead(
    key: string,
    nowMs: number,
    read: () => Promise<Value>,
    inBackground: (promise: Promise<unknown>) => void,
  ): Promise<Value> {
    const known = this.get(key, nowMs);
    if (known === undefined) {
      const value = await read();
      this.set(key, value, nowMs);
      return value;
    }
    // A failure is told to whoever has to wait for the read once this value is too old.
    if (this.claimRefresh(key, nowMs)) inBackground(read().then((value) => this.set(key, value, nowMs), () => undefined));
    return known;
  }

  /** Whether a value will soon be too old, and nobody reads it again yet. */
  isAging(key: string, nowMs: number): boolean {
    const entry = this.#entries.get(key);
    return entry !== undefined && !entry.refreshing && nowMs - entry.readAtMs >= this.#maxAgeMs * REFRESH_AT;
  }

  /** Whether a value will soon be too old; true once only, for whoever then reads it again. */
  claimRefresh(key: string, nowMs: number): boolean {
    const entry = this.#entries.get(key);
    if (entry === undefined || !this.isAging(key, nowMs)) return false;
    entry.refreshing = true;
    return true;
  }

  /** `readAtMs` is the time just before the read began. */
  set(key: string, value: Value, readAtMs: number): void {
    if (readAtMs <= this.#forgottenAtMs) return;
    this.#entries.delete(key);
    this.#entries.set(key, { value, readAtMs, refreshing: false });
    if (this.#entries.size <= this.#maxEntries) return;
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }

  /** After a change that this isolate made itself: what was read up to now counts no longer, nor what is being read. */
  forget(nowMs: number): void {
    this.#entries.clear();
    this.#forgottenAtMs = nowMs;
  }
}
