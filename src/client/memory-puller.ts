import type { ConsumeSource } from "./consume.ts";
import { encodeData } from "./content.ts";
import { type FieldError, problem } from "./errors.ts";
import { type Bell, type MemoryBox, receiveFrom } from "./memory-box.ts";
import type { MemoryDirectory } from "./memory-endpoints.ts";
import type { MemoryQueries } from "./memory-queries.ts";
import type { Puller, SettleAction } from "./puller.ts";

export type MemoryPullWorld = {
  readonly directory: MemoryDirectory;
  readonly queries: MemoryQueries;
  readonly bell: Bell;
  readonly isMessage: (id: string) => boolean;
};

const MAX_HIDDEN_SECONDS = 43_200;

/** Pulls from boxes in memory; what the gateway refuses is refused here too, when it is asked for. */
export function createMemoryPuller({ directory, queries, bell, isMessage }: MemoryPullWorld, source: ConsumeSource): Puller {
  const boxes = (): readonly MemoryBox[] => {
    if ("endpoint" in source) return [directory.requirePullBox(source.endpoint)];
    const names = "queue" in source ? [source.queue] : [...new Set(source.queues)];
    if (names.length === 0) throw problem("invalid-request", "Name at least one queue.");
    return names.map((name) => directory.requireQueue(name).box);
  };
  return {
    receive: async (request) => {
      checkRanges([
        ["?max", request.max, 1, 10],
        ["?wait", request.waitSeconds, 0, 20],
        ["?visibility", request.visibilitySeconds, 0, MAX_HIDDEN_SECONDS],
      ]);
      const received = await receiveFrom(boxes(), request, bell);
      return received.map(({ box, taken }) => ({ ...taken, box: box.key }));
    },
    settle: async (key, action, receipts) => {
      checkAction(action);
      const box = boxes().find((one) => one.key === key);
      return box === undefined ? receipts.map(() => ({ ok: false, error: "stale" })) : box.settle(action, receipts, Date.now());
    },
    reply: async (messageId, data, contentType) => queries.answer(messageId, encodeData(data, contentType), isMessage(messageId)),
  };
}

function checkAction(action: SettleAction): void {
  if (action.kind === "nack") checkRanges([["/delaySeconds", action.delaySeconds, 0, MAX_HIDDEN_SECONDS]]);
  if (action.kind === "extend") checkRanges([["/visibility", action.visibilitySeconds, 0, MAX_HIDDEN_SECONDS]]);
}

function checkRanges(ranges: readonly (readonly [pointer: string, value: number, min: number, max: number])[]): void {
  const errors = ranges.flatMap(([pointer, value, min, max]): FieldError[] =>
    Number.isInteger(value) && value >= min && value <= max ? [] : [{ pointer, detail: `Must be a whole number from ${min} to ${max}.` }],
  );
  if (errors.length > 0) throw problem("invalid-request", "Mend the listed fields and send the request again.", errors);
}
