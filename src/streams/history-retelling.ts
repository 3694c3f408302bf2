import { openRecord, settledRecord } from "./history-feed.ts";
import type { HistoryDelivery } from "./history-records.ts";
import type { Retold } from "./history-writer.ts";
import type { Outbox } from "./outbox.ts";
import type { LogEntry, SegmentLog } from "./segment-log.ts";

/** One portion: deliveries of a message may be thousands. */
const MAX_MESSAGES = 500;
const MAX_DELIVERIES = 5_000;

/** Of the log, the next messages from an offset on with their deliveries as they stand; no next offset at its end. */
export function retell(log: SegmentLog, outbox: Outbox, fromOffset: number, nowMs: number): { retold: Retold[]; nextOffset: number | null } {
  const retold: Retold[] = [];
  let deliveries = 0;
  for (const entry of log.entriesFrom(fromOffset, MAX_MESSAGES)) {
    if (deliveries >= MAX_DELIVERIES) return { retold, nextOffset: entry.offset };
    const one = { entry, deliveries: deliveriesOf(entry, outbox, nowMs) };
    deliveries += one.deliveries.length;
    retold.push(one);
  }
  const nextOffset = (retold.at(-1)?.entry.offset ?? log.nextOffset) + 1;
  return { retold, nextOffset: nextOffset < log.nextOffset ? nextOffset : null };
}

/**
 * One that is not open was delivered, or is dead, unless history knows better: what it was told of it before, or is told
 * from the untold ends, is newer than the time given here.
 */
function deliveriesOf(entry: LogEntry, outbox: Outbox, nowMs: number): HistoryDelivery[] {
  const { offset, id: messageId, timeMs: messageTimeMs } = entry;
  const open = outbox.openBetween(offset, offset + 1).map(({ delivery, dead, nextAtMs }) =>
    dead ? settledRecord(delivery, { status: "dead", reason: "All attempts failed." }, messageTimeMs + 1) : openRecord(delivery, nextAtMs ?? nowMs, nowMs),
  );
  const isOpen = new Set(open.map(({ endpointId }) => endpointId));
  const ended = [...entry.endpointIds, ...entry.orderedIds]
    .filter((endpointId) => !isOpen.has(endpointId))
    .map((endpointId) => settledRecord({ offset, endpointId, messageId, messageTimeMs }, { status: "delivered" }, messageTimeMs + 1));
  return [...open, ...ended];
}
