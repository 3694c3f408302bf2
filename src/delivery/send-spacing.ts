import { RecentMap } from "../recent-map.ts";

/** More than the gate spaces them by itself, so that what is late can be caught up with; and less than the rate. */
const SHARE = 0.96;
/** Further ahead than that nothing is due: the clock was set back. */
const MAX_AHEAD_MS = 1_000;
const MAX_ENDPOINTS = 10_000;

/**
 * Keeps this isolate's requests to an endpoint with a rate limit apart. Turns come evenly spaced from its gate, but what
 * an isolate that was busy has missed would go out all at once. Pure: the time is passed in.
 */
export class SendSpacing {
  readonly #freeAtMs = new RecentMap<number>(MAX_ENDPOINTS);

  /** 0: it may go out now, and counts as gone. Else when to ask again, in ms. */
  tryStart(endpointId: string, perSecond: number, nowMs: number): number {
    const intervalMs = 1000 / (perSecond * SHARE);
    const aheadMs = (this.#freeAtMs.get(endpointId) ?? 0) - nowMs;
    if (aheadMs > 0 && aheadMs <= Math.max(MAX_AHEAD_MS, intervalMs)) return Math.ceil(aheadMs);
    this.#freeAtMs.set(endpointId, nowMs + intervalMs);
    return 0;
  }
}
