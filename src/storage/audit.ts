import { z } from "zod";
import { newId } from "../ids.ts";

/** One change of the control plane. `before` and `after` may hold secrets: they are masked here, by field name. */
export type AuditEntry = {
  /** Null for the operator's own plane (tenants, operator tokens). */
  readonly tenantId: string | null;
  readonly timeMs: number;
  /** Token id, or `operator`. */
  readonly actor: string;
  /** `<what>.<verb>`: `endpoint.create`, `secret.rotate`. */
  readonly action: string;
  /** Id of what changed. */
  readonly target: string;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly requestId: string;
  readonly ip: string | null;
};

export type AuditRow = {
  readonly id: string;
  readonly timeMs: number;
  readonly actor: string;
  readonly action: string;
  readonly target: string;
  readonly change: { readonly before: unknown; readonly after: unknown };
  readonly requestId: string;
  readonly ip: string | null;
};

/** Field names whose values never reach the log, wherever they are nested. */
const SECRET_FIELDS = /secret|token|password|authorization|credential|headers|sealed|hash/i;
const MASK = "***";

/** Writes one entry by itself; use {@link auditStatement} to write it atomically with the change. */
export async function recordAudit(db: D1Database, entry: AuditEntry): Promise<void> {
  await auditStatement(db, entry).run();
}

/** The insert of an entry, for a `batch()` with the change it records. */
export function auditStatement(db: D1Database, entry: AuditEntry): D1PreparedStatement {
  return insertEntry(db, entry, "");
}

/** The same right after a statement that may turn out to change nothing: then there is no entry. */
export function auditOfChange(db: D1Database, entry: AuditEntry): D1PreparedStatement {
  return insertEntry(db, entry, "WHERE changes() > 0");
}

function insertEntry(db: D1Database, entry: AuditEntry, condition: string): D1PreparedStatement {
  const change = { before: maskSecrets(entry.before ?? null), after: maskSecrets(entry.after ?? null) };
  return db
    .prepare(
      `INSERT INTO audit (id, tenant_id, time, actor, action, target, change, request_id, ip)
       SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9 ${condition}`,
    )
    .bind(
      newId("aud", entry.timeMs), entry.tenantId, entry.timeMs, entry.actor, entry.action, entry.target,
      JSON.stringify(change), entry.requestId, entry.ip,
    );
}

/** Newest first, before the id `beforeId`; `tenantId` null lists the operator's own plane. */
export async function listAudit(
  db: D1Database,
  tenantId: string | null,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<AuditRow[]> {
  const { results } = await db
    .prepare(
      `SELECT id, time, actor, action, target, change, request_id, ip FROM audit
       WHERE tenant_id IS ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3`,
    )
    .bind(tenantId, options.beforeId, options.limit)
    .all();
  return results.map(parseRow);
}

/** A copy of a JSON value in which every field that names a secret is `***`. */
export function maskSecrets(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(maskSecrets);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, field]) => [
      name,
      SECRET_FIELDS.test(name) && field !== null && field !== undefined ? MASK : maskSecrets(field),
    ]),
  );
}

const Change = z.object({ before: z.unknown(), after: z.unknown() });

const Row = z.object({
  id: z.string(),
  time: z.number(),
  actor: z.string(),
  action: z.string(),
  target: z.string(),
  change: z.string().transform((text) => Change.parse(JSON.parse(text))),
  request_id: z.string(),
  ip: z.string().nullable(),
});

function parseRow(row: unknown): AuditRow {
  const { id, time, actor, action, target, change, request_id, ip } = Row.parse(row);
  return { id, timeMs: time, actor, action, target, change, requestId: request_id, ip };
}
