import { shownTopic } from "../delivery/shown-topic.ts";
import { isReservedTopic } from "../messages/topic.ts";
import type { DeadDelivery } from "../operator-events/dead-deliveries.ts";
import type { HistoryBatch } from "./history-records.ts";
import { parseStreamName } from "./ref.ts";
import type { SegmentLog } from "./segment-log.ts";
import type { UntoldEnds } from "./untold-ends.ts";

/**
 * The deliveries of a batch that are dead and of which nobody was told before. Not those of operator events: that one of
 * them is dead makes no further one.
 */
export function deadOf(batch: HistoryBatch, log: SegmentLog, untold: UntoldEnds): DeadDelivery[] {
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
