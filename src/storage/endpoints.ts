import { z } from "zod";
import type { EndpointStatus } from "../delivery/endpoint.ts";
import { columnValue, ENDPOINT_COLUMNS, type EndpointRow, parseEndpointRow } from "./endpoint-row.ts";
import type { Selection } from "./subscriptions.ts";

export { disableEndpoint, type EndpointWithSecrets, findDeliveryEndpoints, setEndpointHealth } from "./delivery-endpoints.ts";
export type { EndpointRow } from "./endpoint-row.ts";

/**
 * With the patterns of its subscriptions, oldest first, each once; and with what all of those select alike: null, or the
 * default, where they differ.
 */
export type EndpointWithTopics = EndpointRow & {
  readonly topics: readonly string[];
  readonly selection: Selection;
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
  (SELECT json_group_array(json_array(d.filter, d.filter_scope)) FROM (
     SELECT DISTINCT s.filter, s.filter_scope FROM subscriptions s
     WHERE s.endpoint_id = e.id AND s.topic IS NOT NULL LIMIT 2) d) AS filters,
  (SELECT json_group_array(DISTINCT s.queue) FROM subscriptions s WHERE s.endpoint_id = e.id) AS queues,
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

/**
 * How an endpoint `e` stands for what is on its way to it: one whose receiver has not allowed anything yet is as good as
 * paused.
 */
export const STATUS_FOR_DELIVERY = "iif(e.handshake = 'waiting' AND e.status = 'active', 'paused', e.status) AS status";

const Json = z.string().transform((text): unknown => JSON.parse(text));
const NameList = Json.pipe(z.array(z.string()));
const Shown = z.object({
  topics: NameList,
  filters: Json.pipe(z.array(z.tuple([z.string().nullable(), z.enum(["attributes", "body"])]))),
  queues: Json.pipe(z.array(z.string().nullable())),
  circuit_opened_at: z.number().nullable(),
});

/** A row of {@link selectEndpoint}; null when there is none. */
export function parseEndpoint(row: unknown): EndpointWithTopics | null {
  if (row === undefined || row === null) return null;
  const { topics, filters, queues, circuit_opened_at } = Shown.parse(row);
  const [filter, filterScope] = theOnly(filters) ?? ([null, "attributes"] as const);
  const selection = { filter, filterScope, queue: theOnly(queues) ?? null };
  return { ...parseEndpointRow(row), topics: [...new Set(topics)], selection, circuit_opened_at };
}

function theOnly<Value>(values: readonly Value[]): Value | undefined {
  return values.length === 1 ? values[0] : undefined;
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
    .prepare(`SELECT e.id AS endpointId, e.kind, ${STATUS_FOR_DELIVERY} FROM endpoints e WHERE e.tenant_id = ? AND e.node = ?`)
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
      `SELECT e.kind, ${STATUS_FOR_DELIVERY}, e.node,
         (SELECT json_group_array(DISTINCT s.queue) FROM subscriptions s
          WHERE s.endpoint_id = e.id AND s.queue IS NOT NULL) AS queues
       FROM endpoints e WHERE e.id = ? AND e.tenant_id = ?`,
    )
    .bind(endpointId, tenantId)
    .first();
  return row === null ? null : AddressesRow.parse(row);
}
