import type { ConsumeFault } from "./consume.ts";
import type { Pulled, Puller } from "./puller.ts";
import type { Receiver } from "./receiver.ts";
import type { Settler } from "./settler.ts";

/** What iterating and running have in common. */
export type Consumption = {
  readonly puller: Puller;
  readonly settler: Settler;
  readonly receiver: Receiver;
  readonly stopping: AbortSignal;
  readonly max: number;
  readonly visibilitySeconds: number;
  readonly report: (fault: ConsumeFault) => void;
  /** Stops the consumer, which throws this once what is under way has ended. */
  readonly fail: (error: unknown) => void;
};

/** Makes messages that nobody began with visible to others at once. */
export async function giveBack({ settler, report }: Pick<Consumption, "settler" | "report">, unstarted: readonly Pulled[]): Promise<void> {
  await Promise.all(
    unstarted.map(async (pulled) => {
      try {
        await settler.settle(pulled, { kind: "nack", delaySeconds: 0 });
      } catch (error) {
        report({ kind: "settle", error, message: pulled.message }); // it comes back by itself, only later
      }
    }),
  );
}
