import type { AttemptRecord } from "../delivery/outcome.ts";
import type { StoredMessage } from "../messages/message.ts";

/** A message as history shows it: all but its bytes. `size` is their number, `matched` the endpoints it went to. */
export type HistoryMessage = Pick<StoredMessage, "id" | "offset" | "timeMs" | "contentType" | "attributes" | "event"> & {
  readonly size: number;
  readonly matched: number;
};

export type DeliveryStatus = "open" | "delivered" | "dead" | "cancelled";

/** The state of a delivery at `updatedAtMs`. */
export type HistoryDelivery = {
  readonly messageId: string;
  readonly offset: number;
  readonly endpointId: string;
  /** The message's `timeMs`: part of the row's key, so the same in every record of one delivery. */
  readonly messageTimeMs: number;
  readonly status: DeliveryStatus;
  /** Why it is held, dead or cancelled. */
  readonly reason: string | null;
  readonly nextAttemptAtMs: number | null;
  readonly updatedAtMs: number;
};

/**
 * Whether a record takes the place of one that was told before: the newer one does, and an end does of what was open,
 * for the clock may have been set back in between.
 */
export function supersedes(record: HistoryDelivery, known: HistoryDelivery): boolean {
  return record.updatedAtMs >= known.updatedAtMs || (known.status === "open" && record.status !== "open");
}

/** An attempt. Its delivery lists it only if the record of what it changed there is in the same batch. */
export type HistoryAttempt = {
  readonly messageId: string;
  readonly offset: number;
  /** The delivery's target. */
  readonly endpointId: string;
  /** The endpoint that was attempted, where the target is not one itself (`member`, `node`). */
  readonly by?: string;
  readonly record: AttemptRecord;
};

/** What one stream reports at once. Reporting the same again changes nothing. */
export type HistoryBatch = {
  readonly tenantId: string;
  /** `tenant/kind/name` */
  readonly stream: string;
  readonly topic: string;
  readonly messages: readonly HistoryMessage[];
  readonly deliveries: readonly HistoryDelivery[];
  readonly attempts: readonly HistoryAttempt[];
};
