import { jitteredMs, sleep } from "./backoff.ts";
import type { ConsumeFault } from "./consume.ts";
import { PosternConnectionError, PosternProblem } from "./errors.ts";
import type { Pulled, Puller } from "./puller.ts";

export type Receiver = {
  /** Messages, or none: when none came in time, when receiving failed in a way that passes, when it is to stop. */
  readonly receive: (max: number) => Promise<readonly Pulled[]>;
};

export type ReceiverOptions = {
  readonly puller: Puller;
  readonly waitSeconds: number;
  readonly visibilitySeconds: number;
  readonly stopping: AbortSignal;
  readonly report: (fault: ConsumeFault) => void;
};

const FAULT_LIMITS = { baseMs: 500, capMs: 30_000 };
/** Between two askings that both came back empty at once, so that `waitSeconds: 0` does not become a hot loop. */
const IDLE_LIMITS = { baseMs: 200, capMs: 1000 };
const AT_ONCE_MS = 100;

/** Receives with back-off: on faults that pass it waits, the longer the more of them came in a row. */
export function createReceiver({ puller, waitSeconds, visibilitySeconds, stopping, report }: ReceiverOptions): Receiver {
  let faults = 0;
  let idle = 0;
  return {
    receive: async (max) => {
      const askedAtMs = Date.now();
      try {
        const pulled = await puller.receive({ max, waitSeconds, visibilitySeconds, signal: stopping });
        faults = 0;
        idle = pulled.length === 0 && Date.now() - askedAtMs < AT_ONCE_MS ? idle + 1 : 0;
        if (idle > 0) await sleep(jitteredMs(idle, IDLE_LIMITS, 1), stopping);
        return pulled;
      } catch (error) {
        if (stopping.aborted) return [];
        if (!passes(error)) throw error;
        faults++;
        const waitMs = Math.max(jitteredMs(faults, FAULT_LIMITS, Math.random()), askedWaitMs(error));
        report({ kind: "receive", error, retryInSeconds: waitMs / 1000 });
        await sleep(waitMs, stopping);
        return [];
      }
    },
  };
}

/** What is refused for good (no such queue, no scope, a broken request) does not pass; the rest may. */
function passes(error: unknown): boolean {
  if (error instanceof PosternConnectionError) return true;
  return error instanceof PosternProblem && (error.status === 429 || error.status >= 500);
}

function askedWaitMs(error: unknown): number {
  if (!(error instanceof PosternProblem) || error.retryAfterSeconds === null) return 0;
  return Math.min(error.retryAfterSeconds * 1000, FAULT_LIMITS.capMs);
}
