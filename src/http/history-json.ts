import { z } from "@hono/zod-openapi";
import { attemptId, deliveryId, streamKey } from "../delivery/delivery-id.ts";
import { isTarget, MAX_TARGET_CHARACTERS, parseQueueMethod } from "../messages/topic.ts";
import { listAttemptsOf } from "../storage/history-attempts.ts";
import { type AttemptEntry, type DeliveryEntry, isEndpoint, type MessageEntry } from "../storage/history-row.ts";
import { type CursorScope, toPage } from "./pagination.ts";
import { Time, TimeInput, toTime } from "./schemas.ts";

/** A page of deliveries ends early rather than hold more attempts, for each has up to 4 KiB of response. */
const MAX_ATTEMPTS_PER_PAGE = 2_000;

export const TopicFilter = z
  .string()
  .refine((topic) => isTarget(topic) || parseQueueMethod(topic) !== null, {
    error: "Must be one topic, such as orders.completed, or one queue/method; patterns are not supported here.",
  })
  .openapi({ type: "string", description: "Only of this topic", example: "orders.completed" });

/** A delivery's target: an endpoint, in most cases. */
export const TargetInput = z
  .string()
  .min(1)
  .max("queue:".length + MAX_TARGET_CHARACTERS)
  .openapi({
    description: "An endpoint, or another `target` that a delivery shows: `queue:<name>`, `member` or `node`",
    example: "ep_01jd2r8w3mabcdefghjkmnpqrs",
  });

export const Since = TimeInput.openapi({ description: "From this time on (RFC 3339)" });
export const Until = TimeInput.openapi({ description: "Before this time (RFC 3339)" });

/** For `refine` of whatever has `since` and `until`, with {@link NOT_BEFORE_SINCE}. */
export function isOrdered(period: { readonly since?: number | undefined; readonly until?: number | undefined }): boolean {
  return period.since === undefined || period.until === undefined || period.since <= period.until;
}
export const NOT_BEFORE_SINCE = { path: ["until"], error: "Must not be before `since`." };

export const Message = z
  .object({
    id: z.string(),
    topic: z.string(),
    offset: z.number().int().openapi({ description: "Its place in the stream of its topic, queue or node" }),
    time: Time,
    contentType: z.string(),
    size: z.number().int().openapi({ description: "Bytes" }),
    attributes: z.record(z.string(), z.string()),
    event: z.record(z.string(), z.string()).nullable().openapi({ description: "CloudEvents context attributes" }),
    matched: z.number().int().openapi({ description: "How many endpoints and queues it was for" }),
    expungedAt: Time.nullable().openapi({ description: "Since when its content is gone" }),
  })
  .openapi("Message");

const attemptFields = {
  id: z.string(),
  time: Time,
  statusCode: z.number().int().nullable(),
  durationMs: z.number().int(),
  error: z.string().nullable().openapi({
    description: "`code: what happened`; null after a success",
    example: "timed-out: no response within 15 s",
  }),
  responseBody: z.string().openapi({ description: "The first 4 KiB" }),
};

export const Attempt = z
  .object({ ...attemptFields, deliveryId: z.string(), messageId: z.string(), endpointId: z.string(), topic: z.string() })
  .openapi("Attempt");

export const Delivery = z
  .object({
    id: z.string(),
    messageId: z.string(),
    messageTime: Time,
    topic: z.string(),
    target: z.string().openapi({
      description:
        "What the message was for: an endpoint; `queue:<name>`, to become a message of that queue; of a queue's message " +
        "`member`, any one of the queue; of a direct message `node`, the endpoint of that name",
      example: "ep_01jd2r8w3mabcdefghjkmnpqrs",
    }),
    endpointId: z.string().nullable().openapi({
      description: "The endpoint that is the target, or else the one of the last attempt; null while there is none",
    }),
    status: z.enum(["open", "delivered", "dead", "cancelled"]),
    reason: z.string().nullable().openapi({ description: "Why it is held, dead or cancelled" }),
    nextAttemptAt: Time.nullable(),
    updatedAt: Time,
    attempts: z.array(z.object(attemptFields)).openapi({ description: "Oldest first" }),
  })
  .openapi("Delivery");

export function presentMessage(message: MessageEntry): z.infer<typeof Message> {
  const { stream: _stream, targets: _targets, takers: _takers, timeMs, expungedAtMs, ...rest } = message;
  return { ...rest, time: toTime(timeMs), expungedAt: expungedAtMs === null ? null : toTime(expungedAtMs) };
}

/** The JSON of attempts that may be of several streams. */
export async function presentAttempts(attempts: readonly AttemptEntry[]): Promise<z.infer<typeof Attempt>[]> {
  const idOf = await deliveryIds(attempts);
  return attempts.map((attempt) => ({
    ...presentAttempt(attempt, idOf(attempt)),
    deliveryId: idOf(attempt),
    messageId: attempt.messageId,
    endpointId: attempt.endpointId,
    topic: attempt.topic,
  }));
}

/** Where a page of deliveries ended: the time of the message, its stream and offset, and the target. */
export const DeliveryPosition = z.tuple([z.number(), z.string(), z.number(), z.string()]);

/** A page of `limit + 1` rows asked of storage, with the attempts of those that are shown. */
export async function deliveryPage(
  db: D1Database,
  scope: CursorScope & { readonly tenantId: string },
  rows: readonly DeliveryEntry[],
  limit: number,
): Promise<{ data: z.infer<typeof Delivery>[]; next: string | null }> {
  const shown = rows.slice(0, Math.min(limit, countThatFit(rows)));
  const idOf = await deliveryIds(shown);
  const attempts = Map.groupBy(await listAttemptsOf(db, scope.tenantId, shown), idOf);
  const position = (row: DeliveryEntry) => [row.messageTimeMs, row.stream, row.offset, row.target];
  return toPage(scope, rows, shown.length, position, (row) => presentDelivery(row, idOf(row), attempts.get(idOf(row)) ?? []));
}

function presentDelivery(row: DeliveryEntry, id: string, attempts: readonly AttemptEntry[]): z.infer<typeof Delivery> {
  const endedAtMs = Math.max(row.messageTimeMs, ...attempts.map(({ timeMs, durationMs }) => timeMs + durationMs));
  return {
    id,
    messageId: row.messageId,
    messageTime: toTime(row.messageTimeMs),
    topic: row.topic,
    target: row.target,
    endpointId: endpointOf(row, attempts),
    status: row.status,
    reason: row.reason,
    nextAttemptAt: row.nextAttemptAtMs === null ? null : toTime(row.nextAttemptAtMs),
    updatedAt: toTime(row.updatedAtMs ?? endedAtMs),
    attempts: attempts.map((attempt) => presentAttempt(attempt, id)),
  };
}

function endpointOf({ target, attemptKeys }: DeliveryEntry, attempts: readonly AttemptEntry[]): string | null {
  if (isEndpoint(target)) return target;
  return [...attemptKeys, ...attempts].findLast(({ endpointId }) => isEndpoint(endpointId))?.endpointId ?? null;
}

function presentAttempt(attempt: AttemptEntry, ofDelivery: string) {
  return {
    id: attemptId(ofDelivery, attempt.timeMs),
    time: toTime(attempt.timeMs),
    statusCode: attempt.statusCode,
    durationMs: attempt.durationMs,
    error: attempt.error,
    responseBody: attempt.responseBody,
  };
}

/** At least one, so that a page always gets on. */
function countThatFit(rows: readonly DeliveryEntry[]): number {
  let attempts = 0;
  const end = rows.findIndex((row) => (attempts += Math.max(row.attemptKeys.length, 1)) > MAX_ATTEMPTS_PER_PAGE);
  return end < 0 ? rows.length : Math.max(end, 1);
}

type Ref = { readonly stream: string; readonly offset: number; readonly target: string };

async function deliveryIds(refs: readonly Ref[]): Promise<(ref: Ref) => string> {
  const streams = [...new Set(refs.map((ref) => ref.stream))];
  const keys = new Map(await Promise.all(streams.map(async (stream) => [stream, await streamKey(stream)] as const)));
  return (ref) => deliveryId(keys.get(ref.stream) ?? "", ref.offset, ref.target);
}
