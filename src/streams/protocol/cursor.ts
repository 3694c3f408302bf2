/** Protocol §8.1: time in intervals of 20 s, counted from 2024-10-09. */
const EPOCH_MS = Date.UTC(2024, 9, 9);
const INTERVAL_MS = 20_000;
const MAX_JITTER_INTERVALS = 180;

/**
 * The cursor of a live response. It is always beyond the one the client sent, so that no cache between the two ever
 * answers the same request again and again.
 *
 * @param random in [0, 1)
 */
export function nextCursor(sent: string | undefined, nowMs: number, random: number): string {
  const current = Math.floor((nowMs - EPOCH_MS) / INTERVAL_MS);
  const theirs = sent !== undefined && /^[0-9]{1,15}$/.test(sent) ? Number(sent) : -1;
  if (theirs < current) return String(current);
  return String(theirs + 1 + Math.floor(random * MAX_JITTER_INTERVALS));
}
