import type { AttemptRecord } from "../../../src/delivery/outcome.ts";
import { AttemptPacker } from "../../../src/storage/attempt-pack.ts";
import { writeHistory } from "../../../src/storage/history-write.ts";
import { MessagePacker, type PackableMessage } from "../../../src/storage/message-pack.ts";
import { attemptKey, type HistoryAttempt, type HistoryBatch, type HistoryDelivery } from "../../../src/streams/history-records.ts";

export const TENANT = "ten_a";
export const TOPIC = "orders.completed";
export const T0 = Date.parse("2026-11-17T09:00:00Z");

export type Message = PackableMessage & { readonly offset: number; readonly timeMs: number };

/** A message for nobody, unless it is said for whom; its id tells nothing of its time. */
export function message(offset: number, more: Partial<Message> = {}): Message {
  return {
    id: `msg_${offset}`,
    offset,
    timeMs: T0 + offset * 1000,
    contentType: "application/json",
    size: 17,
    attributes: { region: "eu" },
    matched: more.endpointIds?.length ?? 0,
    endpointIds: [],
    ...more,
  };
}

export function delivery(offset: number, endpointId: string, more: Partial<HistoryDelivery> = {}): HistoryDelivery {
  return {
    messageId: `msg_${offset}`,
    offset,
    endpointId,
    messageTimeMs: T0 + offset * 1000,
    status: "delivered",
    reason: null,
    nextAttemptAtMs: null,
    updatedAtMs: T0 + offset * 1000 + 50,
    ...more,
  };
}

export function attempt(offset: number, endpointId: string, record: Partial<AttemptRecord> = {}, by?: string): HistoryAttempt {
  const startedAtMs = record.startedAtMs ?? T0 + offset * 1000 + 10;
  return {
    messageId: `msg_${offset}`,
    offset,
    endpointId,
    ...(by === undefined ? {} : { by }),
    record: {
      startedAtMs,
      durationMs: 40,
      statusCode: 200,
      error: null,
      responseBody: "ok",
      ...record,
    },
  };
}

export const FAILURE = { statusCode: 500, error: { code: "status", detail: "answered 500" } } as const;

/** What a queue's stream reports. */
export function ofQueue(name: string): Pick<HistoryBatch, "stream" | "topic"> {
  return { stream: `${TENANT}/queues/${name}`, topic: name };
}

/** What a stream has to report, before it is packed. */
export type Report = Omit<HistoryBatch, "messages" | "ids" | "deliveries" | "attempts" | "beganAtMs"> & {
  readonly messages: readonly Message[];
  readonly takers: readonly string[];
  readonly deliveries: readonly HistoryDelivery[];
  readonly attempts: readonly HistoryAttempt[];
};

let lastNumber = 0;

/** The batch that a stream makes of a report: a delivery names those of the attempts that are its own. */
export function batch(more: Partial<Report>): HistoryBatch {
  const { messages = [], takers = [], deliveries = [], attempts = [], ...rest } = more;
  const messagePacker = new MessagePacker(takers);
  for (const one of messages) messagePacker.add(one, one.offset, one.timeMs);
  const { packs, ids } = messagePacker.finish();
  const attemptPacker = new AttemptPacker();
  for (const one of attempts) attemptPacker.add(one);
  const keysOf = (of: HistoryDelivery) => attempts.filter((one) => one.offset === of.offset && one.endpointId === of.endpointId).map(attemptKey);
  return {
    tenantId: TENANT,
    stream: `${more.tenantId ?? TENANT}/topics/${more.topic ?? TOPIC}`,
    topic: TOPIC,
    beganAtMs: messages.find(({ offset }) => offset === 0)?.timeMs ?? null,
    messages: packs,
    replaces: false,
    ids,
    deliveries: deliveries.map((one) => ({ ...one, attemptKeys: keysOf(one) })),
    attempts: attemptPacker.take(() => ++lastNumber),
    ...rest,
  };
}

export async function write(db: D1Database, more: Partial<Report>): Promise<void> {
  await writeHistory(db, batch(more));
}

export async function addEndpoint(db: D1Database, id: string, tenantId = TENANT, status = "active"): Promise<void> {
  await db.prepare("INSERT OR IGNORE INTO tenants (id, name, created_at) VALUES (?, ?, 0)").bind(tenantId, tenantId).run();
  await db
    .prepare(
      `INSERT INTO endpoints (id, tenant_id, kind, timeout_seconds, retry_schedule, status, created_at, updated_at)
       VALUES (?, ?, 'push', 15, '[]', ?, 0, 0)`,
    )
    .bind(id, tenantId, status)
    .run();
}
