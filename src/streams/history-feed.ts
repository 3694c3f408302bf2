import { deliveryId } from "../delivery/delivery-id.ts";
import type { Verdict } from "../delivery/outcome.ts";
import { type HistoryAttempt, type HistoryBatch, type HistoryDelivery, type HistoryMessage, supersedes } from "./history-records.ts";
import type { OpenDelivery } from "./outbox.ts";
import type { LogEntry } from "./segment-log.ts";
import { parseStreamName } from "./ref.ts";

/** Beyond this, D1 has been away for long: what finds no room is told again from the disk once it is back. */
const MAX_RECORDS = 50_000;

/**
 * What history has yet to be told, the newest state of each delivery only. In memory and bounded: what finds no room
 * is refused, and the log, the rows of the outbox and the untold ends are where it can be had again.
 */
export class HistoryFeed {
  #messages: HistoryMessage[] = [];
  #deliveries = new Map<string, HistoryDelivery>();
  #attempts: HistoryAttempt[] = [];

  get isEmpty(): boolean {
    return this.#size === 0;
  }

  /** Whether there is room for what is told again, beside what is new. */
  get hasRoom(): boolean {
    return this.#size < MAX_RECORDS / 2;
  }

  /** Whether there was room for it. */
  message(entry: LogEntry): boolean {
    if (this.#isFull) return false;
    const { id, offset, timeMs, contentType, attributes, event, size, matched } = entry;
    this.#messages.push({ id, offset, timeMs, contentType, attributes, size, matched, ...(event === undefined ? {} : { event }) });
    return true;
  }

  /** Whether there was room for it; one that does not supersede the one that is there changes nothing. */
  delivery(record: HistoryDelivery): boolean {
    const key = keyOf(record);
    const known = this.#deliveries.get(key);
    if (known === undefined && this.#isFull) return false;
    if (known === undefined || supersedes(record, known)) this.#deliveries.set(key, record);
    return true;
  }

  /** What finds no room is left out: history then lists fewer attempts than were made. */
  attempt(attempt: HistoryAttempt): void {
    if (!this.#isFull) this.#attempts.push(attempt);
  }

  /** Empties the feed into one batch. */
  take(stream: string): HistoryBatch {
    const { tenantId, name } = parseStreamName(stream);
    const deliveries = [...this.#deliveries.values()];
    const batch: HistoryBatch = { tenantId, stream, topic: name, messages: this.#messages, deliveries, attempts: this.#attempts };
    this.#messages = [];
    this.#deliveries = new Map();
    this.#attempts = [];
    return batch;
  }

  /** Puts back what could not be written, before what has come since. */
  putBack(batch: HistoryBatch): void {
    const since = this.#deliveries;
    this.#messages = [...batch.messages, ...this.#messages];
    this.#attempts = [...batch.attempts, ...this.#attempts];
    this.#deliveries = new Map(batch.deliveries.map((delivery) => [keyOf(delivery), delivery]));
    for (const [key, record] of since) this.#deliveries.set(key, record);
  }

  get #size(): number {
    return this.#messages.length + this.#deliveries.size + this.#attempts.length;
  }

  get #isFull(): boolean {
    return this.#size >= MAX_RECORDS;
  }
}

/** A delivery that was opened, or is to be tried again at a time. */
export function openRecord({ offset, endpointId, messageId, messageTimeMs }: OpenDelivery, nextAttemptAtMs: number, nowMs: number): HistoryDelivery {
  return { offset, endpointId, messageId, messageTimeMs, status: "open", reason: null, nextAttemptAtMs, updatedAtMs: nowMs };
}

/** A delivery after a verdict. */
export function settledRecord({ offset, endpointId, messageId, messageTimeMs }: OpenDelivery, verdict: Verdict, nowMs: number): HistoryDelivery {
  return { offset, endpointId, messageId, messageTimeMs, ...stateAfter(verdict), updatedAtMs: nowMs };
}

function keyOf({ offset, endpointId }: { offset: number; endpointId: string }): string {
  return deliveryId("", offset, endpointId);
}

function stateAfter(verdict: Verdict): Pick<HistoryDelivery, "status" | "reason" | "nextAttemptAtMs"> {
  switch (verdict.status) {
    case "delivered":
      return { status: "delivered", reason: null, nextAttemptAtMs: null };
    case "open":
      return { status: "open", reason: null, nextAttemptAtMs: verdict.nextAttemptAtMs };
    case "held":
      return { status: "open", reason: verdict.reason, nextAttemptAtMs: null };
    case "dead":
      return { status: "dead", reason: verdict.reason, nextAttemptAtMs: null };
    case "cancelled":
      return { status: "cancelled", reason: verdict.reason, nextAttemptAtMs: null };
  }
}
