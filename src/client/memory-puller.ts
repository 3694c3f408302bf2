import { checkReceive, checkSettle } from "./checks.ts";
import type { ConsumeSource } from "./consume.ts";
import { encodeData } from "./content.ts";
import { problem } from "./errors.ts";
import { type Bell, type MemoryBox, receiveFrom } from "./memory-box.ts";
import type { MemoryDirectory } from "./memory-endpoints.ts";
import type { MemoryQueries } from "./memory-queries.ts";
import type { Puller } from "./puller.ts";

export type MemoryPullWorld = {
  readonly directory: MemoryDirectory;
  readonly queries: MemoryQueries;
  readonly bell: Bell;
  readonly isMessage: (id: string) => boolean;
};

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
      checkReceive(request);
      const received = await receiveFrom(boxes(), request, bell);
      return received.map(({ box, taken }) => ({ ...taken, box: box.key }));
    },
    settle: async (key, action, receipts) => {
      checkSettle(action);
      const box = boxes().find((one) => one.key === key);
      return box === undefined ? receipts.map(() => ({ ok: false, error: "stale" })) : box.settle(action, receipts, Date.now());
    },
    reply: async (messageId, data, contentType) => queries.answer(messageId, encodeData(data, contentType), isMessage(messageId)),
  };
}
