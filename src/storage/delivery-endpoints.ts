import { z } from "zod";
import { recordAudit } from "./audit.ts";
import { insertStatusEvent } from "./operator-events.ts";
import { ENDPOINT_COLUMNS, type EndpointRow, parseEndpointRow } from "./endpoint-row.ts";

/** A signing secret at rest, sealed under `${tenant_id}/${id}` of its own row. */
export type SealedSecret = {
  readonly id: string;
  readonly sealed: string;
  /** ms; null for the current one, else it signs beside the current one until then. */
  readonly expires_at: number | null;
};

/** An endpoint with the secrets that sign for it: the current one first, then the newest. */
export type EndpointWithSecrets = EndpointRow & {
  readonly secrets: readonly SealedSecret[];
  /** The private key of its tenant, where the endpoint asks for `v1a` signatures; sealed like a secret. */
  readonly signingKey: { readonly id: string; readonly sealed: string } | null;
};

const SecretRow = z.object({
  id: z.string(),
  endpoint_id: z.string(),
  sealed: z.string(),
  expires_at: z.number().nullable(),
});

const KeyRow = z.object({ id: z.string(), tenant_id: z.string(), sealed: z.string() });

/**
 * The endpoints of these ids, of any tenant, that exist: the caller knows whose stream they come from. All reads
 * are one transaction, so a rotation is seen whole or not at all.
 */
export async function findDeliveryEndpoints(
  db: D1Database,
  ids: readonly string[],
  nowMs: number = Date.now(),
): Promise<EndpointWithSecrets[]> {
  if (ids.length === 0) return [];
  // as one JSON parameter: D1 binds at most 100
  const idList = JSON.stringify(ids);
  const [endpoints, secrets, keys] = await db.batch([
    db
      .prepare(`SELECT ${ENDPOINT_COLUMNS.join(", ")} FROM endpoints WHERE id IN (SELECT value FROM json_each(?))`)
      .bind(idList),
    db
      .prepare(
        `SELECT id, endpoint_id, sealed, expires_at FROM endpoint_secrets
         WHERE endpoint_id IN (SELECT value FROM json_each(?)) AND (expires_at IS NULL OR expires_at > ?)
         ORDER BY endpoint_id, expires_at IS NULL DESC, created_at DESC, id DESC`,
      )
      .bind(idList, nowMs),
    db
      .prepare(
        `SELECT id, tenant_id, sealed FROM tenant_signing_keys WHERE tenant_id IN (
           SELECT tenant_id FROM endpoints WHERE asymmetric = 1 AND id IN (SELECT value FROM json_each(?)))`,
      )
      .bind(idList),
  ]);
  const keysByTenant = new Map((keys?.results ?? []).map((row) => KeyRow.parse(row)).map((key) => [key.tenant_id, key]));
  const secretsById = new Map<string, SealedSecret[]>();
  for (const row of secrets?.results ?? []) {
    const { endpoint_id, ...secret } = SecretRow.parse(row);
    const known = secretsById.get(endpoint_id);
    if (known === undefined) secretsById.set(endpoint_id, [secret]);
    else known.push(secret);
  }
  return (endpoints?.results ?? []).map((row) => {
    const endpoint = parseEndpointRow(row);
    const signingKey = endpoint.asymmetric ? (keysByTenant.get(endpoint.tenant_id) ?? null) : null;
    return { ...endpoint, secrets: secretsById.get(endpoint.id) ?? [], signingKey };
  });
}

/** Notes since when an endpoint has done nothing but fail (kept if noted already), or that it answers again (null). */
export async function setEndpointHealth(db: D1Database, id: string, failingSinceMs: number | null): Promise<void> {
  const statement =
    failingSinceMs === null
      ? db.prepare("UPDATE endpoints SET failing_since = NULL WHERE id = ? AND failing_since IS NOT NULL").bind(id)
      : db.prepare("UPDATE endpoints SET failing_since = ? WHERE id = ? AND failing_since IS NULL").bind(failingSinceMs, id);
  await statement.run();
}

/**
 * Disables an endpoint that is active or paused, saying why; false when it is disabled already or deleted. The audit
 * log has it under the actor `gateway`, and its operator event is stored with the change.
 */
export async function disableEndpoint(
  db: D1Database,
  { id, tenantId }: { readonly id: string; readonly tenantId: string },
  reason: string,
  nowMs: number,
): Promise<boolean> {
  const [update] = await db.batch([
    db
      .prepare(
        `UPDATE endpoints SET status = 'disabled', disabled_reason = ?, updated_at = ?
         WHERE id = ? AND status <> 'disabled' RETURNING tenant_id`,
      )
      .bind(reason, nowMs, id),
    await insertStatusEvent(db, "postern.endpoint.disabled", { id, tenantId, status: "disabled", reason }, nowMs),
  ]);
  if (update === undefined || update.results.length === 0) return false;
  await recordAudit(db, {
    tenantId,
    timeMs: nowMs,
    actor: "gateway",
    action: "endpoint.disable",
    target: id,
    after: { status: "disabled", disabledReason: reason },
    requestId: "gateway",
    ip: null,
  });
  return true;
}

/** The streams in which history knows open deliveries to the endpoint. */
export async function findOpenStreams(db: D1Database, tenantId: string, endpointId: string): Promise<string[]> {
  const { results } = await db
    .prepare("SELECT DISTINCT stream FROM deliveries WHERE tenant_id = ? AND endpoint_id = ? AND status = 'open'")
    .bind(tenantId, endpointId)
    .all();
  return results.map((row) => z.object({ stream: z.string() }).parse(row).stream);
}
