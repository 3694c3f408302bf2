import type { Published } from "../measure.ts";
import { quantile } from "../statistics.ts";

const STEP_MS = 100;
/** Fewer say nothing of a p99. */
const MIN_MESSAGES = 50;
const TOLERATED = 2;
const TOLERATED_AT_LEAST_MS = 10;

/**
 * How long after `endedAtMs` a calm publisher's p99 is normal again: from when on the p99 of all that is sent later is
 * at most twice the normal one (or 10 ms). Null when it never is, or too little came after to say.
 */
export function recoveredAfterMs(timeline: readonly Published[], endedAtMs: number, normalP99Ms: number): number | null {
  const bound = Math.max(TOLERATED * normalP99Ms, TOLERATED_AT_LEAST_MS);
  for (let afterMs = 0; ; afterMs += STEP_MS) {
    const later = timeline.filter(({ sentAtMs }) => sentAtMs >= endedAtMs + afterMs);
    if (later.length < MIN_MESSAGES) return null;
    if (quantile(later.map(({ latencyMs }) => latencyMs).sort((a, b) => a - b), 0.99) <= bound) return afterMs;
  }
}
