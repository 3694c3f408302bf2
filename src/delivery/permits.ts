/**
 * How many attempts at one endpoint are under way, and leave for more. A permit that is not given back, for its process
 * was killed, ends by itself. Pure: the time is passed in.
 */
export class Permits {
  /** When each ends by itself, by id. */
  readonly #endAtMs = new Map<number, number>();
  #nextId = 0;

  /** Up to `count` permits, so that no more than `max` are out; their ids. */
  take(count: number, max: number, lastsMs: number, nowMs: number): number[] {
    for (const [id, endAtMs] of this.#endAtMs) if (endAtMs <= nowMs) this.#endAtMs.delete(id);
    const ids = Array.from({ length: Math.max(0, Math.min(count, max - this.#endAtMs.size)) }, () => this.#nextId++);
    for (const id of ids) this.#endAtMs.set(id, nowMs + lastsMs);
    return ids;
  }

  giveBack(id: number): void {
    this.#endAtMs.delete(id);
  }
}
