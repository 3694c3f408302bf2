/** ≈ 72 h: 5 s, 30 s, 2 min, 10 min, 30 min, 2 h, 6 h, 12 h, 24 h, 27 h. */
export const DEFAULT_RETRY_SCHEDULE_SECONDS = [5, 30, 120, 600, 1800, 7200, 21_600, 43_200, 86_400, 97_200] as const;

const JITTER = 0.1;
const MAX_RETRY_AFTER_MS = 24 * 60 * 60 * 1000;

/** What the policy needs to know of a failed attempt. */
export type FailedAttempt = {
  /** Counts from 1. */
  readonly attemptNumber: number;
  /** From `Retry-After` of a 429 or 503, already in milliseconds from now; null when absent. */
  readonly retryAfterMs: number | null;
};

/**
 * When to try again, in ms since the epoch, or null when the schedule is exhausted. Each step is spread by ±10 %,
 * so that what failed together does not return together. `Retry-After` may lengthen a step, up to 24 h, and never
 * shortens one.
 * @param random a number in [0, 1)
 */
export function nextAttemptAt(
  failed: FailedAttempt,
  scheduleSeconds: readonly number[],
  nowMs: number,
  random: number,
): number | null {
  const stepSeconds = scheduleSeconds[failed.attemptNumber - 1];
  if (stepSeconds === undefined) return null;
  const jitteredMs = stepSeconds * 1000 * (1 + JITTER * (2 * random - 1));
  const asked = Math.min(failed.retryAfterMs ?? 0, MAX_RETRY_AFTER_MS);
  return Math.round(nowMs + Math.max(jitteredMs, asked));
}

/** `Retry-After` in ms from now (RFC 9110 §10.2.3): seconds or an HTTP date; null when absent, past or malformed. */
export function parseRetryAfter(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  const text = value.trim();
  if (/^\d{1,10}$/.test(text)) return Number(text) * 1000;
  if (!/^[A-Za-z]{3},? /.test(text)) return null;
  const date = Date.parse(text);
  return Number.isNaN(date) || date <= nowMs ? null : date - nowMs;
}
