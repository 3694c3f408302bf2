import { RecentMap } from "../recent-map.ts";

/** AWS has a handful of certificates a region and changes them once in months: either bound is far above need. */
const WINDOW_MS = 60_000;
const MAX_FETCHES_PER_SOURCE = 30;
const MAX_FETCHES = 120;
const MAX_SOURCES = 1024;

type Window = { readonly startedAtMs: number; fetches: number };

/**
 * Counts the fetches of certificates in an isolate, by minute. Who invents certificate names spends the allowance of
 * the source whose address and topic they know; other sources keep theirs.
 */
export class FetchBudget {
  #total: Window = { startedAtMs: Number.NEGATIVE_INFINITY, fetches: 0 };
  readonly #bySource = new RecentMap<Window>(MAX_SOURCES);

  /** Whether one more fetch is allowed for the source; if so, it is counted. */
  take(sourceId: string, nowMs: number): boolean {
    this.#total = current(this.#total, nowMs);
    const ofSource = current(this.#bySource.get(sourceId), nowMs);
    this.#bySource.set(sourceId, ofSource);
    if (ofSource.fetches >= MAX_FETCHES_PER_SOURCE || this.#total.fetches >= MAX_FETCHES) return false;
    ofSource.fetches++;
    this.#total.fetches++;
    return true;
  }
}

function current(window: Window | undefined, nowMs: number): Window {
  const running = window !== undefined && nowMs - window.startedAtMs < WINDOW_MS;
  return running ? window : { startedAtMs: nowMs, fetches: 0 };
}
