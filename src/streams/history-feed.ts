import type { Verdict } from "../delivery/outcome.ts";
import { type DeliveryRecord, type HistoryDelivery, supersedes } from "./history-records.ts";
import type { OpenDelivery } from "./outbox.ts";

/** Beyond this, D1 has been away for long: what finds no room is told again from the disk once it is back. */
const MAX_RECORDS = 50_000;

/**
 * The deliveries that history has yet to be told of one by one, the newest state of each only. In memory and bounded:
 * what finds no room is refused, and the rows of the outbox and the untold ends are where it can be had again.
 */
export class HistoryFeed {
  #records = new Map<string, DeliveryRecord>();

  get isEmpty(): boolean {
    return this.#records.size === 0;
  }

  /** Whether there is room for what is told again, beside what is new. */
  get hasRoom(): boolean {
    return this.#records.size < MAX_RECORDS / 2;
  }

  /** Of the messages that there is something to tell of, the first; null when there is none. */
  lowestOffset(): number | null {
    let lowest: number | null = null;
    for (const { offset } of this.#records.values()) lowest = Math.min(offset, lowest ?? offset);
    return lowest;
  }

  has(delivery: OpenDelivery): boolean {
    return this.#records.size > 0 && this.#records.has(keyOf(delivery));
  }

  /**
   * Whether there was room for it; one that does not supersede the one that is there changes nothing but the attempts.
   * @param attemptKey of the attempt that led to it
   */
  tell(record: HistoryDelivery, attemptKey?: number | string): boolean {
    const key = keyOf(record);
    const known = this.#records.get(key);
    if (known === undefined && this.#records.size >= MAX_RECORDS) return false;
    const attemptKeys = [...(known?.attemptKeys ?? []), ...(attemptKey === undefined ? [] : [attemptKey])];
    const newest = known === undefined || supersedes(record, known) ? record : known;
    this.#records.set(key, { ...newest, attemptKeys });
    return true;
  }

  take(): DeliveryRecord[] {
    const records = [...this.#records.values()];
    this.#records = new Map();
    return records;
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

/** Tells the deliveries of a stream apart. */
export function keyOf({ offset, endpointId }: { readonly offset: number; readonly endpointId: string }): string {
  return `${offset} ${endpointId}`;
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
