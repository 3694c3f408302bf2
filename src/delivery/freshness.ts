/** No isolate answers from a cached copy of the control plane that is older than this. */
export const CACHE_MAX_AGE_MS = 1000;

/** Clocks of two isolates on one machine differ by less; a cache filled just before a commit is over by then. */
const CLOCK_MARGIN_MS = 50;

/**
 * Answers once no isolate can still hold what it read before `committedAtMs`. A deletion is acknowledged only after
 * this, so that no request follows it (I5).
 */
export async function untilCachesExpired(committedAtMs: number): Promise<void> {
  const waitMs = committedAtMs + CACHE_MAX_AGE_MS + CLOCK_MARGIN_MS - Date.now();
  if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
}
