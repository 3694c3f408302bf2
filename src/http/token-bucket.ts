/** An allowance that refills by `ratePerSecond` up to one second's worth; below zero it is owed. */
export type TokenBucket = { level: number; refilledAtMs: number };

export type Taken =
  | { readonly ok: true; readonly remaining: number }
  | { readonly ok: false; readonly retryAfterSeconds: number };

const SECOND_MS = 1000;

export function fullBucket(ratePerSecond: number, nowMs: number): TokenBucket {
  return { level: ratePerSecond, refilledAtMs: nowMs };
}

/**
 * Takes `count` from the bucket while there is anything in it. More than there is leaves a debt, which those who come
 * later wait off: so a batch larger than the rate is possible, and the rate holds all the same.
 */
export function takeFrom(bucket: TokenBucket, count: number, ratePerSecond: number, nowMs: number): Taken {
  // two clocks may differ, and a limit may have been lowered
  const elapsedMs = Math.max(0, nowMs - bucket.refilledAtMs);
  bucket.level = Math.min(ratePerSecond, bucket.level + (elapsedMs * ratePerSecond) / SECOND_MS);
  bucket.refilledAtMs = nowMs;
  if (bucket.level < 1) return { ok: false, retryAfterSeconds: Math.ceil((1 - bucket.level) / ratePerSecond) };
  bucket.level -= count;
  return { ok: true, remaining: Math.max(0, Math.floor(bucket.level)) };
}
