import { z } from "zod";
import type { EndpointStatus } from "../delivery/endpoint.ts";
import { operatorEventId, type OperatorTopic, type StoredEvent } from "../operator-events/event.ts";

const Row = z.object({
  id: z.string(),
  tenantId: z.string(),
  topic: z.string(),
  timeMs: z.number(),
  attributes: z.string().transform((text): unknown => JSON.parse(text)).pipe(z.record(z.string(), z.string())),
  body: z.string(),
});

/** Adds events to those that are to be published; for a `batch()` with what they are about. Nothing for one that is there. */
export function insertOperatorEvents(db: D1Database, events: readonly StoredEvent[]): D1PreparedStatement {
  const rows = events.map(({ timeMs, id, tenantId, topic, attributes, body }) => [timeMs, id, tenantId, topic, JSON.stringify(attributes), body]);
  return db
    .prepare(
      `INSERT OR IGNORE INTO operator_events (created_at, id, tenant_id, topic, attributes, body)
       SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5 FROM json_each(?)`,
    )
    .bind(JSON.stringify(rows));
}

/**
 * Adds the event that an endpoint has a new status, with its name and the reason, if it got that status at `nowMs`; for
 * a `batch()` after the change.
 */
export async function insertStatusEvent(
  db: D1Database,
  topic: OperatorTopic,
  { id, tenantId, status, reason }: { readonly id: string; readonly tenantId: string; readonly status: EndpointStatus; readonly reason: string | null },
  nowMs: number,
): Promise<D1PreparedStatement> {
  const eventId = await operatorEventId(tenantId, topic, `${id} ${nowMs}`);
  return db
    .prepare(
      `INSERT OR IGNORE INTO operator_events (created_at, id, tenant_id, topic, attributes, body)
       SELECT ?1, ?2, tenant_id, ?3, json_object('endpoint', id), json_object(
         'type', ?3, 'timestamp', ?4, 'data', json_object('endpointId', id, 'name', name, 'reason', ?5))
       FROM endpoints WHERE id = ?6 AND tenant_id = ?7 AND status = ?8 AND updated_at = ?1`,
    )
    .bind(nowMs, eventId, topic, new Date(nowMs).toISOString(), reason, id, tenantId, status);
}

/** Those that wait to be published, the oldest first. */
export async function listOperatorEvents(db: D1Database, limit: number): Promise<StoredEvent[]> {
  const { results } = await db
    .prepare(
      `SELECT id, tenant_id AS tenantId, topic, created_at AS timeMs, attributes, body
       FROM operator_events ORDER BY created_at, id LIMIT ?`,
    )
    .bind(limit)
    .all();
  return results.map((row) => Row.parse(row));
}

/** Forgets those that are published. */
export async function deleteOperatorEvents(db: D1Database, events: readonly StoredEvent[]): Promise<void> {
  const keys = JSON.stringify(events.map(({ timeMs, id }) => [timeMs, id]));
  await db
    .prepare("DELETE FROM operator_events WHERE (created_at, id) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?))")
    .bind(keys)
    .run();
}
