/**
 * Values an isolate has read lately, by key: none is given out once it is older than `maxAgeMs`, counted from
 * before the read began. Holds values, never promises: a request must not wait for what another one does.
 */
export class RecentReads<Value> {
  readonly #maxAgeMs: number;
  readonly #maxEntries: number;
  readonly #entries = new Map<string, { readonly value: Value; readonly readAtMs: number }>();

  constructor(maxAgeMs: number, maxEntries: number) {
    this.#maxAgeMs = maxAgeMs;
    this.#maxEntries = maxEntries;
  }

  get(key: string, nowMs: number): Value | undefined {
    const entry = this.#entries.get(key);
    if (entry === undefined) return undefined;
    if (nowMs - entry.readAtMs < this.#maxAgeMs) return entry.value;
    this.#entries.delete(key);
    return undefined;
  }

  /** `readAtMs` is the time just before the read began. */
  set(key: string, value: Value, readAtMs: number): void {
    this.#entries.delete(key);
    this.#entries.set(key, { value, readAtMs });
    if (this.#entries.size <= this.#maxEntries) return;
    const oldest = this.#entries.keys().next();
    if (!oldest.done) this.#entries.delete(oldest.value);
  }
}
