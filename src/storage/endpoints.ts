import { z } from "zod";
import type { EndpointStatus } from "../delivery/endpoint.ts";
import { columnValue, ENDPOINT_COLUMNS, type EndpointRow, parseEndpointRow } from "./endpoint-row.ts";

export { disableEndpoint, type EndpointWithSecrets, findDeliveryEndpoints, setEndpointHealth } from "./delivery-endpoints.ts";
export type { EndpointRow } from "./endpoint-row.ts";

/** With the patterns of its subscriptions, oldest first, each once. */
export type EndpointWithTopics = EndpointRow & {
  readonly topics: readonly string[];
  /** Since when it is tried now and then only, ms; null while its circuit is closed. */
  readonly circuit_opened_at: number | null;
};

/** What a PATCH may set; what it leaves out stays. */
export type EndpointChange = Partial<
  Omit<EndpointRow, "id" | "tenant_id" | "kind" | "status" | "disabled_reason" | "failing_since" | "created_at" | "updated_at">
>;

export type EndpointFilter = { readonly status?: EndpointStatus | undefined; readonly node?: string | undefined };

const SELECT_WITH_TOPICS = `SELECT ${ENDPOINT_COLUMNS.map((column) => `e.${column}`).join(", ")},
  (SELECT json_group_array(s.topic ORDER BY s.id) FROM subscriptions s
     WHERE s.endpoint_id = e.id AND s.topic IS NOT NULL) AS topics,
  (SELECT min(c.opened_at) FROM endpoint_circuits c WHERE c.endpoint_id = e.id) AS circuit_opened_at
  FROM endpoints e`;

/** Adds an endpoint; part of a batch. Fails with what {@link isNodeTaken} knows when its node name is taken. */
export function insertEndpoint(db: D1Database, row: EndpointRow): D1PreparedStatement {
  return db
    .prepare(`INSERT INTO endpoints (${ENDPOINT_COLUMNS.join(", ")}) VALUES (${ENDPOINT_COLUMNS.map(() => "?").join(", ")})`)
    .bind(...ENDPOINT_COLUMNS.map((column) => columnValue(row[column])));
}

/** Whether a write failed because another endpoint of the tenant has the node name. */
export function isNodeTaken(error: unknown): boolean {
  return error instanceof Error && error.message.includes("UNIQUE constraint failed: endpoints.tenant_id, endpoints.node");
}

/** Selects one endpoint of the tenant; as the last statement of a batch it shows what the batch made of it. */
export function selectEndpoint(db: D1Database, tenantId: string, id: string): D1PreparedStatement {
  return db.prepare(`${SELECT_WITH_TOPICS} WHERE e.id = ? AND e.tenant_id = ?`).bind(id, tenantId);
}

const NameList = z.string().transform((text): unknown => JSON.parse(text)).pipe(z.array(z.string()));
const Shown = z.object({ topics: NameList, circuit_opened_at: z.number().nullable() });

/** A row of {@link selectEndpoint}; null when there is none. */
export function parseEndpoint(row: unknown): EndpointWithTopics | null {
  if (row === undefined || row === null) return null;
  const { topics, circuit_opened_at } = Shown.parse(row);
  return { ...parseEndpointRow(row), topics: [...new Set(topics)], circuit_opened_at };
}

export async function findEndpoint(db: D1Database, tenantId: string, id: string): Promise<EndpointWithTopics | null> {
  return parseEndpoint(await selectEndpoint(db, tenantId, id).first());
}

/** Endpoints of the tenant, newest first, from before the id `beforeId`. */
export async function listEndpoints(
  db: D1Database,
  tenantId: string,
  filter: EndpointFilter,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<EndpointWithTopics[]> {
  const { results } = await db
    .prepare(
      `${SELECT_WITH_TOPICS}
       WHERE e.tenant_id = ?1 AND (?2 IS NULL OR e.id < ?2)
         AND (?3 IS NULL OR e.status = ?3) AND (?4 IS NULL OR e.node = ?4)
       ORDER BY e.id DESC LIMIT ?5`,
    )
    .bind(tenantId, options.beforeId, filter.status ?? null, filter.node ?? null, options.limit)
    .all();
  return results.map(parseEndpoint).filter((endpoint) => endpoint !== null);
}

/**
 * Sets the given columns; part of a batch. A new URL starts with a clean record: the failures of the old one do not
 * count against it.
 */
export function updateEndpoint(
  db: D1Database,
  tenantId: string,
  id: string,
  change: EndpointChange,
  nowMs: number,
): D1PreparedStatement {
  const columns: Partial<EndpointRow> = { ...change, updated_at: nowMs };
  if (change.url !== undefined) columns.failing_since = null;
  const assignments: string[] = [];
  const values: (string | number | null)[] = [];
  for (const column of ENDPOINT_COLUMNS) {
    const value = columns[column];
    if (value === undefined) continue;
    assignments.push(`${column} = ?`);
    values.push(columnValue(value));
  }
  return db
    .prepare(`UPDATE endpoints SET ${assignments.join(", ")} WHERE id = ? AND tenant_id = ?`)
    .bind(...values, id, tenantId);
}

/**
 * Moves an endpoint from one status to another; part of a batch. One that has another status by now stays as it is.
 * What failed before a pause does not count once the endpoint is active again.
 */
export function changeStatus(
  db: D1Database,
  tenantId: string,
  id: string,
  from: EndpointStatus,
  to: EndpointStatus,
  nowMs: number,
): D1PreparedStatement {
  return db
    .prepare(
      `UPDATE endpoints SET status = ?1, disabled_reason = NULL, updated_at = ?2,
         failing_since = CASE WHEN ?1 = 'active' THEN NULL ELSE failing_since END
       WHERE id = ?3 AND tenant_id = ?4 AND status = ?5`,
    )
    .bind(to, nowMs, id, tenantId, from);
}

/** Deletes an endpoint with its subscriptions and secrets; part of a batch, the endpoint itself last. */
export function deleteEndpoint(db: D1Database, tenantId: string, id: string): D1PreparedStatement[] {
  return [
    db.prepare("DELETE FROM subscriptions WHERE endpoint_id = ? AND tenant_id = ?").bind(id, tenantId),
    db.prepare("DELETE FROM endpoint_secrets WHERE endpoint_id = ? AND tenant_id = ?").bind(id, tenantId),
    db.prepare("DELETE FROM endpoints WHERE id = ? AND tenant_id = ?").bind(id, tenantId),
  ];
}

/** An endpoint that messages of a queue or of a node can go to. */
export type Receiver = { readonly endpointId: string; readonly kind: "push" | "pull"; readonly status: EndpointStatus };

const ReceiverRow = z.object({
  endpointId: z.string(),
  kind: z.enum(["push", "pull"]),
  status: z.enum(["active", "paused", "disabled"]),
});

/** A row of `SELECT id AS endpointId, kind, status`. */
export function parseReceiver(row: unknown): Receiver {
  return ReceiverRow.parse(row);
}

/** The endpoint of the tenant that has the node name; null while none has it. */
export async function findNodeEndpoint(db: D1Database, tenantId: string, node: string): Promise<Receiver | null> {
  const row = await db
    .prepare("SELECT id AS endpointId, kind, status FROM endpoints WHERE tenant_id = ? AND node = ?")
    .bind(tenantId, node)
    .first();
  return row === null ? null : parseReceiver(row);
}

/** Where messages reach an endpoint beside its own subscriptions: the queues it is a member of, and its node name. */
export type EndpointAddresses = Omit<Receiver, "endpointId"> & {
  readonly node: string | null;
  readonly queues: readonly string[];
};

const AddressesRow = ReceiverRow.omit({ endpointId: true }).extend({ node: z.string().nullable(), queues: NameList });

/** The addresses of an endpoint of the tenant; null when there is none. */
export async function findEndpointAddresses(
  db: D1Database,
  tenantId: string,
  endpointId: string,
): Promise<EndpointAddresses | null> {
  const row = await db
    .prepare(
      `SELECT e.kind, e.status, e.node,
         (SELECT json_group_array(DISTINCT s.queue) FROM subscriptions s
          WHERE s.endpoint_id = e.id AND s.queue IS NOT NULL) AS queues
       FROM endpoints e WHERE e.id = ? AND e.tenant_id = ?`,
    )
    .bind(endpointId, tenantId)
    .first();
  return row === null ? null : AddressesRow.parse(row);
}
