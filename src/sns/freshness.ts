import type { RefusalReason } from "./refusal.ts";

/** SNS retries an HTTP delivery for an hour at most; the rest is for its queues and our clock. */
const MAX_AGE_MS = 75 * 60 * 1000;
const MAX_AHEAD_MS = 5 * 60 * 1000;

/** Null when the message is recent enough to be a delivery, and not a replay of an old one. */
export function staleness(timestampMs: number, nowMs: number): RefusalReason | null {
  if (nowMs - timestampMs > MAX_AGE_MS) return "too-old";
  if (timestampMs - nowMs > MAX_AHEAD_MS) return "too-far-ahead";
  return null;
}
