import type { StoredEvent } from "../operator-events/event.ts";

/** An open circuit of one stream at one endpoint. */
export type OpenCircuit = {
  readonly tenantId: string;
  readonly stream: string;
  readonly endpointId: string;
  readonly openedAtMs: number;
  readonly probeAtMs: number;
};

/** A circuit of which nothing was heard for this long counts as closed: its stream tells of every probe. */
export const CIRCUIT_STALE_MS = 10 * 60_000;

const INSERT_EVENT = `INSERT OR IGNORE INTO operator_events (created_at, id, tenant_id, topic, attributes, body)
  SELECT ?, ?, ?, ?, ?, ?`;

function eventValues({ timeMs, id, tenantId, topic, attributes, body }: StoredEvent): readonly (string | number)[] {
  return [timeMs, id, tenantId, topic, JSON.stringify(attributes), body];
}

/** Notes that a circuit is open, and stores the event where it is the first one of its endpoint. Nothing for one that is gone. */
export async function noteOpenCircuit(db: D1Database, circuit: OpenCircuit, event: StoredEvent): Promise<void> {
  const { tenantId, stream, endpointId, openedAtMs, probeAtMs } = circuit;
  await db.batch([
    db
      .prepare(
        `${INSERT_EVENT} WHERE EXISTS (SELECT 1 FROM endpoints WHERE id = ?)
           AND NOT EXISTS (SELECT 1 FROM endpoint_circuits WHERE endpoint_id = ?)`,
      )
      .bind(...eventValues(event), endpointId, endpointId),
    db
      .prepare(
        `INSERT INTO endpoint_circuits (endpoint_id, stream, tenant_id, opened_at, probe_at)
         SELECT id, ?2, tenant_id, ?3, ?4 FROM endpoints WHERE id = ?1 AND tenant_id = ?5
         ON CONFLICT DO UPDATE SET opened_at = excluded.opened_at, probe_at = excluded.probe_at`,
      )
      .bind(endpointId, stream, openedAtMs, probeAtMs, tenantId),
  ]);
}

/** Notes that a circuit is closed, and stores the event where it was the last one of its endpoint. */
export async function noteClosedCircuit(db: D1Database, { stream, endpointId }: Pick<OpenCircuit, "stream" | "endpointId">, event: StoredEvent): Promise<void> {
  await db.batch([
    db
      .prepare(
        `${INSERT_EVENT} WHERE EXISTS (SELECT 1 FROM endpoint_circuits WHERE endpoint_id = ? AND stream = ?)
           AND NOT EXISTS (SELECT 1 FROM endpoint_circuits WHERE endpoint_id = ? AND stream <> ?)`,
      )
      .bind(...eventValues(event), endpointId, stream, endpointId, stream),
    db.prepare("DELETE FROM endpoint_circuits WHERE endpoint_id = ? AND stream = ?").bind(endpointId, stream),
  ]);
}

/** Removes circuits of which nothing was heard for long; how many. */
export async function pruneCircuits(db: D1Database, nowMs: number): Promise<number> {
  const { meta } = await db.prepare("DELETE FROM endpoint_circuits WHERE probe_at < ?").bind(nowMs - CIRCUIT_STALE_MS).run();
  return meta.changes;
}
