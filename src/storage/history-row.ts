import type { Attributes, EventContext } from "../messages/message.ts";
import type { DeliveryStatus } from "../streams/history-records.ts";

/** A message of history, without its bytes. */
export type MessageEntry = {
  readonly id: string;
  /** `tenant/kind/name` */
  readonly stream: string;
  readonly topic: string;
  readonly offset: number;
  readonly timeMs: number;
  readonly contentType: string;
  readonly size: number;
  readonly attributes: Attributes;
  readonly event: EventContext | null;
  readonly matched: number;
  readonly expungedAtMs: number | null;
  /** What it was for; of thousands only some, or none. Those without a row of their own got it at once. */
  readonly targets: readonly string[];
  /** Endpoints that may have been attempted for those targets that are none themselves. */
  readonly takers: readonly string[];
};

/** Which attempt of a delivery: when it began, and at whom. */
export type AttemptKey = { readonly timeMs: number; readonly endpointId: string };

export type DeliveryEntry = {
  readonly stream: string;
  readonly offset: number;
  /** An endpoint, `queue:<name>`, `member` or `node`. */
  readonly target: string;
  readonly messageId: string;
  readonly messageTimeMs: number;
  readonly topic: string;
  readonly status: DeliveryStatus;
  readonly reason: string | null;
  readonly nextAttemptAtMs: number | null;
  /** Null for one that was delivered at once: when its attempt ended. */
  readonly updatedAtMs: number | null;
  /** Oldest first; without attempts that began with the message. */
  readonly attemptKeys: readonly AttemptKey[];
  /** As of its message. */
  readonly takers: readonly string[];
};

export type AttemptEntry = {
  readonly stream: string;
  readonly offset: number;
  /** Whose attempt it was. */
  readonly endpointId: string;
  /** That of its delivery, which may be the endpoint itself. */
  readonly target: string;
  readonly messageId: string;
  readonly topic: string;
  readonly timeMs: number;
  readonly durationMs: number;
  readonly statusCode: number | null;
  /** `code: detail`; null after a success. */
  readonly error: string | null;
  readonly responseBody: string;
};

export type DeliveryRow = {
  stream: string; offset: number; endpoint_id: string; message_id: string; message_time: number; topic: string;
  status: DeliveryStatus; reason: string | null; next_attempt_at: number | null; updated_at: number; attempt_times: string;
};

export const DELIVERY_COLUMNS =
  `d.stream, d.offset, d.endpoint_id, d.message_id, d.message_time, d.topic, d.status, d.reason, d.next_attempt_at,
  d.updated_at, d.attempt_times`;

/** @param takers of its message, where that was read */
export function deliveryEntry(row: DeliveryRow, takers: readonly string[] = []): DeliveryEntry {
  return {
    stream: row.stream,
    offset: row.offset,
    target: row.endpoint_id,
    messageId: row.message_id,
    messageTimeMs: row.message_time,
    topic: row.topic,
    status: row.status,
    reason: row.reason,
    nextAttemptAtMs: row.next_attempt_at,
    updatedAtMs: row.updated_at,
    attemptKeys: attemptKeys(row),
    takers,
  };
}

/** What a message says of its deliveries. */
export type DeliveredMessage = Pick<MessageEntry, "id" | "stream" | "topic" | "offset" | "timeMs" | "targets" | "takers">;

/** The delivery of a target that has no row: it got the message at once. */
export function deliveredEntry({ id, timeMs, stream, offset, topic, takers }: DeliveredMessage, target: string): DeliveryEntry {
  return {
    stream, offset, target, messageId: id, messageTimeMs: timeMs, topic, takers,
    status: "delivered", reason: null, nextAttemptAtMs: null, updatedAtMs: null, attemptKeys: [],
  };
}

/** Whether a target is an endpoint, so that there is a row of it or none. */
export function isEndpoint(target: string): boolean {
  return !/^(?:member$|node$|queue:)/.test(target);
}

function attemptKeys(row: DeliveryRow): AttemptKey[] {
  const keys: readonly (number | string)[] = JSON.parse(row.attempt_times);
  return keys
    .map((key) => {
      const [time, endpointId = row.endpoint_id] = String(key).split(" ");
      return { timeMs: Number(time), endpointId };
    })
    .sort((left, right) => left.timeMs - right.timeMs);
}
