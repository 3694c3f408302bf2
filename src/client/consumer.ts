import type { Consumer, ConsumeFault, ConsumeOptions, Delivery } from "./consume.ts";
import { type Consumption, giveBack } from "./consumption.ts";
import { holdDelivery } from "./delivery.ts";
import type { Pulled, Puller } from "./puller.ts";
import { createReceiver } from "./receiver.ts";
import { runHandlers } from "./run-handlers.ts";
import { createSettler } from "./settler.ts";

/** A consumer over anything that messages can be pulled from. */
export function createConsumer(puller: Puller, options: ConsumeOptions = {}): Consumer {
  const { concurrency = 1, signal } = options;
  if (!Number.isInteger(concurrency) || concurrency < 1) throw new RangeError("concurrency is an integer from 1 on");
  const stop = new AbortController();
  const failures: unknown[] = [];
  const shared = share(puller, options, stop, failures);
  let started = false;

  /** Returns what ends it: an abort that comes later finds nothing left to stop. */
  function start(): () => void {
    if (started) throw new Error("a consumer is iterated over or run once: make another");
    started = true;
    const onAbort = (): void => stop.abort();
    if (signal?.aborted === true) stop.abort();
    signal?.addEventListener("abort", onAbort);
    return () => {
      signal?.removeEventListener("abort", onAbort);
      stop.abort();
    };
  }

  return {
    stop: () => stop.abort(),
    run: async (handler) => {
      const end = start();
      try {
        await runHandlers(shared, handler, concurrency, options.retryDelaySeconds);
      } finally {
        end();
      }
      if (failures.length > 0) throw failures[0];
    },
    [Symbol.asyncIterator]: () => iterate(shared, failures, start()),
  };
}

function share(puller: Puller, options: ConsumeOptions, stop: AbortController, failures: unknown[]): Consumption {
  const { max = 10, waitSeconds = 20, visibilitySeconds = 30, onFault } = options;
  const fail = (error: unknown): void => {
    failures.push(error);
    stop.abort();
  };
  const report = (fault: ConsumeFault): void => {
    try {
      onFault?.(fault);
    } catch (error) {
      fail(error);
    }
  };
  const stopping = stop.signal;
  const receiver = createReceiver({ puller, waitSeconds, visibilitySeconds, stopping, report });
  return { puller, settler: createSettler(puller), receiver, stopping, max, visibilitySeconds, report, fail };
}

async function* iterate(shared: Consumption, failures: readonly unknown[], end: () => void): AsyncGenerator<Delivery, void, undefined> {
  const { receiver, puller, settler, stopping, max, visibilitySeconds } = shared;
  const fetched: Pulled[] = [];
  try {
    while (!stopping.aborted) {
      fetched.push(...(await receiver.receive(max)));
      const overAtMs = Date.now() + visibilitySeconds * 1000;
      while (fetched.length > 0 && !stopping.aborted) {
        const next = fetched.shift();
        // One whose visibility time ran out while others were worked on belongs to someone else by now.
        if (next === undefined || (visibilitySeconds > 0 && Date.now() >= overAtMs)) continue;
        yield holdDelivery(next, puller, settler, visibilitySeconds).delivery;
      }
    }
  } finally {
    end();
    await giveBack(shared, fetched);
    await settler.drained();
  }
  if (failures.length > 0) throw failures[0];
}
