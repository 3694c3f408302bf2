import type { AttemptRecord } from "../delivery/outcome.ts";
import type { AttemptPack } from "../storage/attempt-pack.ts";
import type { IndexedId, MessagePack } from "../storage/message-pack.ts";

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

/** A delivery as it is told, with those of its attempts that are told at the same time: how it names them for good. */
export type DeliveryRecord = HistoryDelivery & { readonly attemptKeys: readonly (number | string)[] };

/**
 * Whether a record takes the place of one that was told before: the newer one does, and an end does of what was open,
 * for the clock may have been set back in between.
 */
export function supersedes(record: HistoryDelivery, known: HistoryDelivery): boolean {
  return record.updatedAtMs >= known.updatedAtMs || (known.status === "open" && record.status !== "open");
}

export type HistoryAttempt = {
  readonly messageId: string;
  readonly offset: number;
  /** The delivery's target. */
  readonly endpointId: string;
  /** The endpoint that was attempted, where the target is not one itself (`member`, `node`). */
  readonly by?: string;
  readonly record: AttemptRecord;
};

/** How a delivery names an attempt: when it began, and at whom where that is not the target. `deliveryEntry` reads it. */
export function attemptKey({ endpointId: target, by = target, record }: HistoryAttempt): number | string {
  return by === target ? record.startedAtMs : `${record.startedAtMs} ${by}`;
}

/** What one stream reports at once. Reporting the same again changes nothing. */
export type HistoryBatch = {
  readonly tenantId: string;
  /** `tenant/kind/name` */
  readonly stream: string;
  readonly topic: string;
  /** When the stream's first message was committed, ms, with the batch that it is in; else null. */
  readonly beganAtMs: number | null;
  readonly messages: readonly MessagePack[];
  /** Packs of the same messages may be there already, cut in other places: these take their place. */
  readonly replaces: boolean;
  readonly ids: readonly IndexedId[];
  readonly deliveries: readonly DeliveryRecord[];
  readonly attempts: readonly AttemptPack[];
};
