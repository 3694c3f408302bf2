import { type IndexedId, type MessagePack, MessagePacker } from "../storage/message-pack.ts";
import { openRecord, settledRecord } from "./history-feed.ts";
import type { HistoryDelivery } from "./history-records.ts";
import type { Outbox, OutboxRow } from "./outbox.ts";
import { isCut, type SegmentLog } from "./segment-log.ts";

/** One batch: enough for the busiest half second, few enough to be packed in a moment. */
const MAX_MESSAGES = 2_000;
/**
 * Each is a row that D1 writes, and others wait meanwhile: few enough for some tens of milliseconds. A batch ends with the
 * message before the one that would be too much; of one message they may be thousands.
 */
const MAX_DELIVERIES = 1_000;

/** Messages as history takes them. */
export type Packed = { readonly packs: readonly MessagePack[]; readonly ids: readonly IndexedId[] };

/** Where history is read from. */
export type HistorySource = { readonly log: SegmentLog; readonly outbox: Outbox };

/** A part of the log, `before` without it, and those of its deliveries that have a row in the outbox, as they stand. */
export type Stretch = { readonly from: number; readonly before: number; readonly deliveries: readonly HistoryDelivery[] };

/** The messages from an offset on with what is open of them, as many as one batch takes. */
export function nextStretch({ log, outbox }: HistorySource, from: number, to: number, nowMs: number): Stretch {
  const { rows, before } = rowsOf(outbox, from, Math.min(to, from + MAX_MESSAGES));
  const isTold = tellable(log);
  return { from, before, deliveries: rows.filter(isTold).map((row) => recordOf(row, nowMs)) };
}

/** All messages of a stretch. A target that has no row was delivered: that is what their packs say. */
export function packStretch({ log }: Pick<HistorySource, "log">, { from, before }: Pick<Stretch, "from" | "before">, takers: readonly string[]): Packed {
  const packer = new MessagePacker(takers);
  for (const { firstOffset, timeMs, messages } of log.segmentsBetween(from, before)) {
    messages.forEach((message, index) => {
      const offset = firstOffset + index;
      if (offset >= from && offset < before) packer.add(message, offset, timeMs);
    });
  }
  return packer.finish();
}

/** The messages of these offsets, each in a pack of its own, so that it is the same whenever it is told. */
export function packEach({ log }: Pick<HistorySource, "log">, offsets: Iterable<number>, takers: readonly string[]): Packed {
  const packed = [...offsets].map((offset) => packStretch({ log }, { from: offset, before: offset + 1 }, takers));
  return { packs: packed.flatMap(({ packs }) => packs), ids: packed.flatMap(({ ids }) => ids) };
}

/** The rows of whole messages, of as many as are not too much at once, and of one at least. */
function rowsOf(outbox: Outbox, from: number, to: number): { readonly rows: readonly OutboxRow[]; readonly before: number } {
  const rows = outbox.rowsBetween(from, to, MAX_DELIVERIES);
  const last = rows.at(-1);
  if (rows.length < MAX_DELIVERIES || last === undefined) return { rows, before: to };
  const before = last.delivery.offset;
  if (before > from) return { rows: rows.filter(({ delivery }) => delivery.offset < before), before };
  return { rows: outbox.rowsBetween(from, from + 1, Number.MAX_SAFE_INTEGER), before: from + 1 };
}

/** Of a very large fan-out it is told what came of each delivery, but not that it is about to be attempted. */
function tellable(log: SegmentLog): (row: OutboxRow) => boolean {
  const known = new Map<number, boolean>();
  return ({ isUntouched, delivery: { offset } }) => {
    if (!isUntouched) return true;
    const isLarge = known.get(offset) ?? isCutAt(log, offset);
    known.set(offset, isLarge);
    return !isLarge;
  };
}

function isCutAt(log: SegmentLog, offset: number): boolean {
  for (const { firstOffset, messages } of log.segmentsBetween(offset, offset + 1)) {
    const message = messages[offset - firstOffset];
    return message !== undefined && isCut(message);
  }
  return false;
}

/** What is told of it elsewhere is more exact: of a dead delivery that is newer than this, whenever it was. */
function recordOf({ delivery, isDead, nextAtMs }: OutboxRow, nowMs: number): HistoryDelivery {
  if (!isDead) return openRecord(delivery, nextAtMs ?? nowMs, nowMs);
  return settledRecord(delivery, { status: "dead", reason: "All attempts failed." }, delivery.messageTimeMs - 1);
}
