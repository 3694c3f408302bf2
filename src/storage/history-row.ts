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
  readonly updatedAtMs: number;
  /** Oldest first. */
  readonly attemptKeys: readonly AttemptKey[];
};

export type AttemptEntry = {
  readonly id: string;
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

export type MessageRow = {
  id: string; stream: string; topic: string; offset: number; time: number; content_type: string; size: number;
  attributes: string; event: string | null; matched: number; expunged_at: number | null;
};
export type DeliveryRow = {
  stream: string; offset: number; endpoint_id: string; message_id: string; message_time: number; topic: string;
  status: DeliveryStatus; reason: string | null; next_attempt_at: number | null; updated_at: number; attempt_times: string;
};

export const MESSAGE_COLUMNS =
  "id, stream, topic, offset, time, content_type, size, attributes, event, matched, expunged_at";
export const DELIVERY_COLUMNS =
  `d.stream, d.offset, d.endpoint_id, d.message_id, d.message_time, d.topic, d.status, d.reason, d.next_attempt_at,
  d.updated_at, d.attempt_times`;
export const ATTEMPT_COLUMNS = `a.id, a.stream, a.offset, a.endpoint_id AS endpointId, ifnull(a.target, a.endpoint_id) AS target,
  a.message_id AS messageId, a.topic, a.time AS timeMs, a.duration_ms AS durationMs, a.status_code AS statusCode, a.error, a.response_body AS responseBody`;

export function messageEntry({ time, content_type, expunged_at, attributes, event, ...row }: MessageRow): MessageEntry {
  return {
    ...row,
    timeMs: time,
    contentType: content_type,
    attributes: JSON.parse(attributes),
    event: event === null ? null : JSON.parse(event),
    expungedAtMs: expunged_at,
  };
}

export function deliveryEntry(row: DeliveryRow): DeliveryEntry {
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
  };
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
