/** Full jitter: anywhere between 0 and what doubles with each failure, `failures` counting from 1. */
export function jitteredMs(failures: number, limits: { readonly baseMs: number; readonly capMs: number }, random: number): number {
  return Math.round(random * Math.min(limits.capMs, limits.baseMs * 2 ** (failures - 1)));
}

/** Resolves after the time, or as soon as the signal aborts. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const end = (): void => {
      clearTimeout(timer);
      signal?.removeEventListener("abort", end);
      resolve();
    };
    const timer = setTimeout(end, ms);
    if (signal?.aborted === true) end();
    else signal?.addEventListener("abort", end);
  });
}
