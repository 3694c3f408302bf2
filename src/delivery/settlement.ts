import type { Work } from "../streams/contract.ts";
import type { DeliveryResult } from "./outcome.ts";

/** Results as they come, for whoever takes them next. */
export class ResultCollector {
  #results: DeliveryResult[] = [];
  #wake: (() => void) | null = null;

  readonly push = (result: DeliveryResult): void => {
    this.#results.push(result);
    this.#wake?.();
    this.#wake = null;
  };

  take(): DeliveryResult[] {
    const results = this.#results;
    this.#results = [];
    return results;
  }

  /** Resolves when there is at least one result. */
  async some(): Promise<void> {
    if (this.#results.length > 0) return;
    await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

/** A stream's results, settled as they come: what is there goes in one call, what comes meanwhile in the next. */
export async function settleAsTheyCome(
  collector: ResultCollector,
  allReported: Promise<void>,
  settle: (results: readonly DeliveryResult[]) => Promise<void>,
): Promise<void> {
  let over = false;
  const end = allReported.finally(() => (over = true));
  while (!over) {
    await Promise.race([collector.some(), end]);
    const results = collector.take();
    if (results.length > 0) await settle(results);
  }
  const rest = collector.take();
  if (rest.length > 0) await settle(rest);
}

/** Defers everything of some work, uncounted: for when endpoints can not be read. */
export function deferAll(work: readonly Work[], atMs: number): DeliveryResult[] {
  return work.flatMap(({ claims }) =>
    claims.map(({ offset, endpointId }) => ({
      offset,
      endpointId,
      verdict: { status: "open", nextAttemptAtMs: atMs, counted: false } as const,
    })),
  );
}

/** Waits for a promise, but no longer than `ms`; whether it was over by then. */
export async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const { promise: deadline, resolve } = Promise.withResolvers<false>();
  const timer = setTimeout(() => resolve(false), ms);
  try {
    return await Promise.race([promise.then(() => true as const), deadline]);
  } finally {
    clearTimeout(timer);
  }
}

