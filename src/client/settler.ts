import type { Settled } from "./consume.ts";
import type { Pulled, Puller, SettleAction } from "./puller.ts";

type Waiting = {
  readonly receipt: string;
  readonly resolve: (settled: Settled) => void;
  readonly reject: (error: unknown) => void;
};

/** What goes to one box with one action. */
type Group = { readonly box: string; readonly action: SettleAction; waiting: Waiting[]; inFlight: number };

/** As many as the gateway takes in one call. */
const MAX_RECEIPTS = 100;

export type Settler = {
  readonly settle: (pulled: Pulled, action: SettleAction) => Promise<Settled>;
  /** Resolves when nothing is on its way. */
  readonly drained: () => Promise<void>;
};

/**
 * Settles many receipts in one call without making any wait for company: the first goes out at once, with those of
 * the same turn, and what comes while it is on its way goes out together after it.
 */
export function createSettler(puller: Pick<Puller, "settle">): Settler {
  const groups = new Map<string, Group>();
  const flights = new Set<Promise<void>>();

  function flush(key: string, group: Group): void {
    while (group.waiting.length >= MAX_RECEIPTS || (group.waiting.length > 0 && group.inFlight === 0)) {
      const batch = group.waiting.splice(0, MAX_RECEIPTS);
      group.inFlight++;
      const flight = send(puller, group, batch).then(() => {
        flights.delete(flight);
        group.inFlight--;
        flush(key, group);
      });
      flights.add(flight);
    }
    if (group.inFlight === 0) groups.delete(key);
  }

  return {
    settle: ({ box, receipt }, action) =>
      new Promise((resolve, reject) => {
        const key = JSON.stringify([box, action]);
        const group = groups.get(key) ?? { box, action, waiting: [], inFlight: 0 };
        if (!groups.has(key)) {
          groups.set(key, group);
          queueMicrotask(() => flush(key, group));
        }
        group.waiting.push({ receipt, resolve, reject });
        if (group.inFlight > 0) flush(key, group);
      }),
    drained: async () => {
      await Promise.resolve(); // lets what was asked for in this turn go out
      while (flights.size > 0) await Promise.all(flights);
    },
  };
}

async function send(puller: Pick<Puller, "settle">, { box, action }: Group, batch: readonly Waiting[]): Promise<void> {
  try {
    const results = await puller.settle(box, action, batch.map(({ receipt }) => receipt));
    batch.forEach(({ resolve }, index) => resolve(results[index] ?? { ok: false, error: "no result" }));
  } catch (error) {
    for (const { reject } of batch) reject(error);
  }
}
