import type { Published } from "../measure.ts";
import { quantile } from "../statistics.ts";

const WINDOW_MS = 500;
const TOLERATED = 2;
const TOLERATED_AT_LEAST_MS = 10;

/**
 * How long after `endedAtMs` a calm publisher's p99 is normal again and stays so: the end of the last half second whose
 * p99 is above twice the normal one (and above 10 ms). Null when that is the last one there is, or nothing came after.
 */
export function recoveredAfterMs(timeline: readonly Published[], endedAtMs: number, normalP99Ms: number): number | null {
  const bound = Math.max(TOLERATED * normalP99Ms, TOLERATED_AT_LEAST_MS);
  const after = timeline.filter(({ sentAtMs }) => sentAtMs >= endedAtMs);
  const windows = Map.groupBy(after, ({ sentAtMs }) => Math.floor((sentAtMs - endedAtMs) / WINDOW_MS));
  const numbers = [...windows.keys()].sort((a, b) => a - b);
  const slow = numbers.filter((number) => quantile((windows.get(number) ?? []).map(({ latencyMs }) => latencyMs).sort((a, b) => a - b), 0.99) > bound);
  const lastSlow = slow.at(-1);
  if (numbers.length === 0 || lastSlow === numbers.at(-1)) return null;
  return lastSlow === undefined ? 0 : (lastSlow + 1) * WINDOW_MS;
}
