import type { AttemptRecord } from "../../../src/delivery/outcome.ts";
import { writeHistory } from "../../../src/storage/history-write.ts";
import type { HistoryAttempt, HistoryBatch, HistoryDelivery, HistoryMessage } from "../../../src/streams/history-records.ts";

export const TENANT = "ten_a";
export const TOPIC = "orders.completed";
export const T0 = Date.parse("2026-11-17T09:00:00Z");

export function message(offset: number, more: Partial<HistoryMessage> = {}): HistoryMessage {
  return {
    id: `msg_${offset}`,
    offset,
    timeMs: T0 + offset * 1000,
    contentType: "application/json",
    size: 17,
    attributes: { region: "eu" },
    matched: 1,
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
      id: `att_${startedAtMs}${by ?? endpointId}`,
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

export function batch(more: Partial<HistoryBatch>): HistoryBatch {
  return {
    tenantId: TENANT,
    stream: `${more.tenantId ?? TENANT}/topics/${more.topic ?? TOPIC}`,
    topic: TOPIC,
    messages: [],
    deliveries: [],
    attempts: [],
    ...more,
  };
}

export async function write(db: D1Database, more: Partial<HistoryBatch>): Promise<void> {
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
