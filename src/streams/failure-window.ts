/** The rate of failures is looked at over this time. */
const WINDOW_MS = 60_000;
/** A circuit opens on a window that has lasted this long, so that a short trouble is left to the retries. */
const MIN_SPAN_MS = 30_000;
const MIN_ATTEMPTS = 20;
const FAILURE_SHARE = 0.8;

/**
 * How the attempts at one endpoint went lately, from its first failure on. Pure: the time is passed in. When the window
 * is over, half of it counts on, so that it slides.
 */
export class FailureWindow {
  #sinceMs: number | null = null;
  #attempts = 0;
  #failures = 0;

  get attempts(): number {
    return this.#attempts;
  }

  get failures(): number {
    return this.#failures;
  }

  succeeded(nowMs: number): void {
    if (this.#sinceMs === null) return;
    this.#slide(nowMs);
    this.#attempts++;
  }

  /** Whether the endpoint fails so often that its circuit is to be opened. */
  failed(nowMs: number): boolean {
    this.#sinceMs ??= nowMs;
    this.#slide(nowMs);
    this.#attempts++;
    this.#failures++;
    const isLongEnough = nowMs - this.#sinceMs >= MIN_SPAN_MS && this.#attempts >= MIN_ATTEMPTS;
    return isLongEnough && this.#failures >= this.#attempts * FAILURE_SHARE;
  }

  #slide(nowMs: number): void {
    if (this.#sinceMs === null || nowMs - this.#sinceMs < WINDOW_MS) return;
    const isStale = nowMs - this.#sinceMs >= 2 * WINDOW_MS;
    this.#sinceMs = isStale ? nowMs : this.#sinceMs + WINDOW_MS / 2;
    this.#attempts = isStale ? 0 : Math.ceil(this.#attempts / 2);
    this.#failures = isStale ? 0 : Math.ceil(this.#failures / 2);
  }
}
