import { z } from "zod";
import type { SealedSourceSecret } from "../inbound/open-keys.ts";
import { type HmacScheme, WEBHOOK_KINDS, type WebhookKind } from "../inbound/scheme.ts";
import type { DeduplicateBy } from "../inbound/to-message.ts";

type CommonSource = {
  readonly id: string;
  readonly tenantId: string;
  readonly name: string | null;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

/** SNS topics that push here. */
export type SnsSource = CommonSource & {
  readonly kind: "sns";
  /** Exact ARNs that may push here. */
  readonly topicArns: readonly string[];
  /** Null: the SNS topic's own name. */
  readonly topic: string | null;
  /** The lowest signature version that is accepted. */
  readonly minVersion: 1 | 2;
};

/** Another sender of webhooks, which signs with a shared secret. */
export type WebhookSource = CommonSource & {
  readonly kind: WebhookKind;
  readonly topic: string;
  /** Of kind `hmac`, else null. */
  readonly scheme: HmacScheme | null;
  readonly deduplicateBy: DeduplicateBy;
};

/** An inbound integration. */
export type Source = SnsSource | WebhookSource;

/** With its secrets, the current one first; none for SNS. */
export type SourceWithSecrets = { readonly source: Source; readonly secrets: readonly SealedSourceSecret[] };

const COLUMNS =
  "id, tenant_id, kind, name, topic_arns, topic, min_version, scheme, deduplicate_by, created_at, updated_at";
const SELECT = `SELECT ${COLUMNS.split(", ").map((column) => `s.${column}`).join(", ")},
  (SELECT json_group_array(json_object('id', k.id, 'sealed', k.sealed, 'createdAtMs', k.created_at, 'expiresAtMs', k.expires_at)
     ORDER BY k.expires_at IS NULL DESC, k.created_at DESC, k.id DESC)
   FROM source_secrets k WHERE k.source_id = s.id) AS secrets
  FROM sources s`;

function json<Schema extends z.ZodType>(schema: Schema) {
  return z.string().transform((text): unknown => JSON.parse(text)).pipe(schema);
}

const Scheme: z.ZodType<HmacScheme> = z.object({
  signatureHeader: z.string(),
  algorithm: z.enum(["sha1", "sha256", "sha512"]),
  encoding: z.enum(["hex", "base64"]),
  prefix: z.string(),
  content: z.string(),
  timestampHeader: z.string().nullable(),
  toleranceSeconds: z.number(),
  idHeader: z.string().nullable(),
  eventHeader: z.string().nullable(),
  secretEncoding: z.enum(["utf8", "hex", "base64"]),
});

const Secrets = json(
  z.array(z.object({ id: z.string(), sealed: z.string(), createdAtMs: z.number(), expiresAtMs: z.number().nullable() })),
);

const common = {
  id: z.string(),
  tenant_id: z.string(),
  name: z.string().nullable(),
  created_at: z.number(),
  updated_at: z.number(),
  secrets: Secrets,
};

const Row = z.discriminatedUnion("kind", [
  z.object({
    ...common,
    kind: z.literal("sns"),
    topic_arns: json(z.array(z.string())),
    topic: z.string().nullable(),
    min_version: z.union([z.literal(1), z.literal(2)]),
  }),
  z.object({
    ...common,
    kind: z.enum(WEBHOOK_KINDS),
    topic: z.string(),
    scheme: json(Scheme).nullable(),
    deduplicate_by: z.enum(["delivery", "content"]),
  }),
]);

/** The source of that id in whatever tenant: for inbound requests, which carry no token. */
export async function getSource(db: D1Database, id: string): Promise<SourceWithSecrets | null> {
  const row = await db.prepare(`${SELECT} WHERE s.id = ?1`).bind(id).first();
  return row === null ? null : parseRow(row);
}

export async function getTenantSource(db: D1Database, tenantId: string, id: string): Promise<SourceWithSecrets | null> {
  const row = await db.prepare(`${SELECT} WHERE s.id = ?1 AND s.tenant_id = ?2`).bind(id, tenantId).first();
  return row === null ? null : parseRow(row);
}

/** Newest first, before the id `beforeId`. */
export async function listSources(
  db: D1Database,
  tenantId: string,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<SourceWithSecrets[]> {
  const { results } = await db
    .prepare(`${SELECT} WHERE s.tenant_id = ?1 AND (?2 IS NULL OR s.id < ?2) ORDER BY s.id DESC LIMIT ?3`)
    .bind(tenantId, options.beforeId, options.limit)
    .all();
  return results.map(parseRow);
}

/** Inserts the source, or replaces what can change of it: for a `batch()` with its audit entry. */
export function putSourceStatement(db: D1Database, source: Source): D1PreparedStatement {
  const own =
    source.kind === "sns"
      ? { topicArns: source.topicArns, minVersion: source.minVersion, scheme: null, deduplicateBy: "delivery" }
      : { topicArns: [], minVersion: 1, scheme: source.scheme, deduplicateBy: source.deduplicateBy };
  return db
    .prepare(
      `INSERT INTO sources (${COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, topic_arns = excluded.topic_arns, topic = excluded.topic,
         min_version = excluded.min_version, scheme = excluded.scheme, deduplicate_by = excluded.deduplicate_by,
         updated_at = excluded.updated_at`,
    )
    .bind(
      source.id, source.tenantId, source.kind, source.name, JSON.stringify(own.topicArns), source.topic, own.minVersion,
      own.scheme === null ? null : JSON.stringify(own.scheme), own.deduplicateBy, source.createdAtMs, source.updatedAtMs,
    );
}

/** Deletes a source with its secrets; for a `batch()` with its audit entry. */
export function deleteSourceStatements(db: D1Database, id: string): D1PreparedStatement[] {
  return [
    db.prepare("DELETE FROM source_secrets WHERE source_id = ?1").bind(id),
    db.prepare("DELETE FROM sources WHERE id = ?1").bind(id),
  ];
}

function parseRow(result: unknown): SourceWithSecrets {
  const row = Row.parse(result);
  const shared = { id: row.id, tenantId: row.tenant_id, name: row.name, createdAtMs: row.created_at, updatedAtMs: row.updated_at };
  if (row.kind === "sns") {
    const source = { ...shared, kind: row.kind, topicArns: row.topic_arns, topic: row.topic, minVersion: row.min_version };
    return { source, secrets: row.secrets };
  }
  const source = { ...shared, kind: row.kind, topic: row.topic, scheme: row.scheme, deduplicateBy: row.deduplicate_by };
  return { source, secrets: row.secrets };
}
