import { shownTopic } from "../delivery/shown-topic.ts";
import { isReservedTopic } from "../messages/topic.ts";
import { type DeadDelivery, deadDeliveryEvents } from "../operator-events/dead-deliveries.ts";
import { tryPublishOperatorEvents } from "../operator-events/publish-pending.ts";
import { writeHistory } from "../storage/history-write.ts";
import type { HistoryBatch } from "./history-records.ts";
import { parseStreamName } from "./ref.ts";
import type { SegmentLog } from "./segment-log.ts";
import type { UntoldEnds } from "./untold-ends.ts";

/** What is told of, and where: see {@link tellHistory}. */
export type HistoryTelling = {
  readonly env: Cloudflare.Env;
  readonly log: SegmentLog;
  readonly untold: UntoldEnds;
  readonly inBackground: (promise: Promise<unknown>) => void;
};

/** Writes a batch of history, and has operators told of the deliveries in it that are dead. Rejects with D1's error. */
export async function tellHistory({ env, log, untold, inBackground }: HistoryTelling, batch: HistoryBatch): Promise<void> {
  const events = await deadDeliveryEvents(batch.stream, deadOf(batch, log, untold));
  await writeHistory(env.DB, batch, events);
  if (events.length > 0) inBackground(tryPublishOperatorEvents(env));
}

/**
 * The deliveries of a batch that are dead and of which nobody was told before. Not those of operator events: that one of
 * them is dead makes no further one.
 */
function deadOf(batch: HistoryBatch, log: SegmentLog, untold: UntoldEnds): DeadDelivery[] {
  const dead = batch.deliveries.filter(({ status }) => status === "dead");
  if (dead.length === 0) return [];
  const stream = parseStreamName(batch.stream);
  return dead.flatMap((delivery) => {
    const [entry] = log.entriesFrom(delivery.offset, 1);
    if (entry?.offset !== delivery.offset || !untold.has(delivery)) return [];
    const isOperatorEvent = isReservedTopic(stream.kind === "topics" ? stream.name : (entry.publishedOn ?? ""));
    return isOperatorEvent ? [] : [{ delivery, topic: shownTopic(entry, stream) }];
  });
}
