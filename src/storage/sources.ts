import { z } from "zod";

export type SubscriptionState = "confirmed" | "unsubscribed";

/** What SNS last said about our subscription to a topic. */
export type SourceSubscription = {
  readonly topicArn: string;
  readonly state: SubscriptionState;
  readonly subscriptionArn: string | null;
  readonly updatedAtMs: number;
};

/** An inbound integration. */
export type Source = {
  readonly id: string;
  readonly tenantId: string;
  readonly kind: "sns";
  readonly name: string | null;
  /** Exact ARNs that may push here. */
  readonly topicArns: readonly string[];
  /** Null: the SNS topic's own name. */
  readonly topic: string | null;
  /** The lowest signature version that is accepted. */
  readonly minVersion: 1 | 2;
  readonly createdAtMs: number;
  readonly updatedAtMs: number;
};

const COLUMNS = "id, tenant_id, kind, name, topic_arns, topic, min_version, created_at, updated_at";

const Row = z.object({
  id: z.string(),
  tenant_id: z.string(),
  kind: z.literal("sns"),
  name: z.string().nullable(),
  topic_arns: z.string().transform((text) => z.array(z.string()).parse(JSON.parse(text))),
  topic: z.string().nullable(),
  min_version: z.union([z.literal(1), z.literal(2)]),
  created_at: z.number(),
  updated_at: z.number(),
});

const SubscriptionRow = z.object({
  source_id: z.string(),
  topic_arn: z.string(),
  state: z.enum(["confirmed", "unsubscribed"]),
  subscription_arn: z.string().nullable(),
  updated_at: z.number(),
});

/** The source of that id in whatever tenant: for inbound requests, which carry no token. */
export async function getSource(db: D1Database, id: string): Promise<Source | null> {
  const row = await db.prepare(`SELECT ${COLUMNS} FROM sources WHERE id = ?1`).bind(id).first();
  return row === null ? null : parseRow(row);
}

export async function getTenantSource(db: D1Database, tenantId: string, id: string): Promise<Source | null> {
  const row = await db
    .prepare(`SELECT ${COLUMNS} FROM sources WHERE id = ?1 AND tenant_id = ?2`)
    .bind(id, tenantId)
    .first();
  return row === null ? null : parseRow(row);
}

/** Newest first, before the id `beforeId`. */
export async function listSources(
  db: D1Database,
  tenantId: string,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<Source[]> {
  const { results } = await db
    .prepare(
      `SELECT ${COLUMNS} FROM sources
       WHERE tenant_id = ?1 AND (?2 IS NULL OR id < ?2) ORDER BY id DESC LIMIT ?3`,
    )
    .bind(tenantId, options.beforeId, options.limit)
    .all();
  return results.map(parseRow);
}

/** Inserts the source, or replaces what can change of it: for a `batch()` with its audit entry. */
export function putSourceStatement(db: D1Database, source: Source): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO sources (${COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
       ON CONFLICT (id) DO UPDATE SET name = excluded.name, topic_arns = excluded.topic_arns,
         topic = excluded.topic, min_version = excluded.min_version, updated_at = excluded.updated_at`,
    )
    .bind(
      source.id, source.tenantId, source.kind, source.name, JSON.stringify(source.topicArns), source.topic,
      source.minVersion, source.createdAtMs, source.updatedAtMs,
    );
}

export function deleteSourceStatement(db: D1Database, id: string): D1PreparedStatement {
  return db.prepare("DELETE FROM sources WHERE id = ?1").bind(id);
}

/** The last word of SNS on each topic, by source id. */
export async function listSubscriptionStates(
  db: D1Database,
  sourceIds: readonly string[],
): Promise<Map<string, SourceSubscription[]>> {
  const { results } = await db
    .prepare(
      `SELECT source_id, topic_arn, state, subscription_arn, updated_at FROM source_subscriptions
       WHERE source_id IN (SELECT value FROM json_each(?1))`,
    )
    .bind(JSON.stringify(sourceIds)) // one parameter, for D1 takes 100 at most
    .all();
  const states = new Map<string, SourceSubscription[]>();
  for (const result of results) {
    const row = SubscriptionRow.parse(result);
    const known = states.get(row.source_id) ?? [];
    known.push({
      topicArn: row.topic_arn,
      state: row.state,
      subscriptionArn: row.subscription_arn,
      updatedAtMs: row.updated_at,
    });
    states.set(row.source_id, known);
  }
  return states;
}

/** Records what SNS said about a subscription; nothing when the source is gone. */
export async function recordSubscriptionState(
  db: D1Database,
  sourceId: string,
  topicArn: string,
  state: SubscriptionState,
  subscriptionArn: string | null,
  nowMs: number,
): Promise<void> {
  await db
    .prepare(
      `INSERT INTO source_subscriptions (source_id, topic_arn, state, subscription_arn, updated_at)
       SELECT id, ?2, ?3, ?4, ?5 FROM sources WHERE id = ?1
       ON CONFLICT (source_id, topic_arn) DO UPDATE SET
         state = excluded.state, subscription_arn = excluded.subscription_arn, updated_at = excluded.updated_at`,
    )
    .bind(sourceId, topicArn, state, subscriptionArn, nowMs)
    .run();
}

function parseRow(result: unknown): Source {
  const row = Row.parse(result);
  return {
    id: row.id,
    tenantId: row.tenant_id,
    kind: row.kind,
    name: row.name,
    topicArns: row.topic_arns,
    topic: row.topic,
    minVersion: row.min_version,
    createdAtMs: row.created_at,
    updatedAtMs: row.updated_at,
  };
}
