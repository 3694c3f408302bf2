import { pendingAlarm } from "../pending-alarm.ts";

/** An alarm that is this late was lost, and is set again. */
const LOST_AFTER_MS = 10_000;

/** The one alarm of an object: only ever set earlier, until it has run. */
export class ObjectAlarm {
  readonly #ctx: DurableObjectState;
  #atMs: number | null = null;

  constructor(ctx: DurableObjectState) {
    this.#ctx = ctx;
  }

  /** After a start: learns of the alarm that is still to come. */
  async load(nowMs: number): Promise<void> {
    this.#atMs = await pendingAlarm(this.#ctx.storage, nowMs);
  }

  /** It runs now. */
  runs(): void {
    this.#atMs = null;
  }

  /** Whether it comes before that time. */
  comesBefore(beforeMs: number, nowMs: number): boolean {
    if (this.#atMs !== null && this.#atMs < nowMs - LOST_AFTER_MS) this.#atMs = null;
    return this.#atMs !== null && this.#atMs <= beforeMs;
  }

  /** Sees to it that it comes at that time at the latest; infinite for none. */
  set(atMs: number): void {
    if (!Number.isFinite(atMs) || (this.#atMs !== null && this.#atMs <= atMs)) return;
    this.#atMs = atMs;
    this.#ctx.waitUntil(this.#ctx.storage.setAlarm(Math.max(atMs, Date.now() + 1)));
  }
}
