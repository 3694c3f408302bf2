import { deliveryId } from "../delivery/delivery-id.ts";
import type { AttemptRecord, Verdict } from "../delivery/outcome.ts";
import type { HistoryAttempt, HistoryBatch, HistoryDelivery, HistoryMessage } from "./history-records.ts";
import type { OpenDelivery } from "./outbox.ts";
import type { LogEntry } from "./segment-log.ts";
import { parseStreamName } from "./ref.ts";

/** Beyond this, D1 has been away for long: what is older is written again from the log after the next restart. */
const MAX_RECORDS = 50_000;

/**
 * What history has yet to be told, the newest state of each delivery only. In memory: the log and the rows of the
 * outbox are the truth from which it can be told again.
 */
export class HistoryFeed {
  #messages: HistoryMessage[] = [];
  #deliveries = new Map<string, HistoryDelivery>();
  #attempts: HistoryAttempt[] = [];

  #hasGaps = false;

  /** Whether it was ever full, so that something was left out. */
  get hasGaps(): boolean {
    return this.#hasGaps;
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0 && this.#deliveries.size === 0 && this.#attempts.length === 0;
  }

  message(entry: LogEntry): void {
    if (this.#isFull()) return;
    const { id, offset, timeMs, contentType, attributes, event, size, matched } = entry;
    this.#messages.push({ id, offset, timeMs, contentType, attributes, size, matched, ...(event === undefined ? {} : { event }) });
  }

  opened(delivery: OpenDelivery, nextAttemptAtMs: number, nowMs: number): void {
    this.#put({ ...delivery, status: "open", reason: null, nextAttemptAtMs, updatedAtMs: nowMs });
  }

  settled(delivery: OpenDelivery, verdict: Verdict, nowMs: number): void {
    this.#put({ ...delivery, ...recordOf(verdict), updatedAtMs: nowMs });
  }

  /** @param by the endpoint that was attempted, where the target is not one */
  attempt(delivery: OpenDelivery, record: AttemptRecord, by?: string): void {
    if (this.#isFull()) return;
    const { messageId, offset, endpointId } = delivery;
    this.#attempts.push({ messageId, offset, endpointId, record, ...(by === undefined ? {} : { by }) });
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
    for (const [key, delivery] of since) this.#deliveries.set(key, delivery);
  }

  #put(record: HistoryDelivery): void {
    const key = keyOf(record);
    if (this.#isFull() && !this.#deliveries.has(key)) return;
    this.#deliveries.set(key, record);
  }

  #isFull(): boolean {
    const full = this.#messages.length + this.#deliveries.size + this.#attempts.length >= MAX_RECORDS;
    this.#hasGaps ||= full;
    return full;
  }
}

function keyOf({ offset, endpointId }: { offset: number; endpointId: string }): string {
  return deliveryId("", offset, endpointId);
}

function recordOf(verdict: Verdict): Pick<HistoryDelivery, "status" | "reason" | "nextAttemptAtMs"> {
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
