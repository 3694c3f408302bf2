import { z } from "zod";

export type FilterScope = "attributes" | "body";

const Columns = z.object({
  id: z.string(),
  endpoint_id: z.string(),
  topic: z.string().nullable(),
  filter: z.string().nullable(),
  filter_scope: z.enum(["attributes", "body"]),
  queue: z.string().nullable(),
  created_at: z.number(),
});

/**
 * A row of `subscriptions`: `topic` is the pattern, null for a member that binds no topic to its queue; `filter` is the
 * JSON of an SNS filter policy; ms.
 */
export type SubscriptionRow = z.output<typeof Columns>;

const Filter = z.record(z.string(), z.unknown());

/** The policy in a `filter` column. */
export function parseFilter(text: string | null): Record<string, unknown> | null {
  return text === null ? null : Filter.parse(JSON.parse(text));
}

/** A pattern with the key it is found by, see messages/topic.ts. */
export type KeyedPattern = { readonly topic: string; readonly topicKey: string };

/** What a subscription asks for beside its topic. */
export type Selection = {
  readonly filter: string | null;
  readonly filterScope: FilterScope;
  readonly queue: string | null;
};

/** No pattern: of a member that binds no topic to its queue. */
export const NO_PATTERN = { topic: null, topicKey: null } as const;

export type NewSubscription = (KeyedPattern | typeof NO_PATTERN) & { readonly id: string };

const SELECT = `SELECT ${Object.keys(Columns.shape).join(", ")} FROM subscriptions`;

/**
 * Subscribes an endpoint of the tenant that is there; part of a batch. With `onlyNew`, patterns it is subscribed to
 * already are passed over.
 */
export function insertSubscriptions(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  subscriptions: readonly NewSubscription[],
  selection: Selection,
  nowMs: number,
  onlyNew = false,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO subscriptions (id, tenant_id, endpoint_id, topic, topic_key, filter, filter_scope, queue, created_at)
       SELECT new.value ->> 'id', e.tenant_id, e.id, new.value ->> 'topic', new.value ->> 'topicKey', ?4, ?5, ?6, ?7
       FROM json_each(?3) new JOIN endpoints e ON e.id = ?1 AND e.tenant_id = ?2
       WHERE ?8 = 0 OR NOT EXISTS (
         SELECT 1 FROM subscriptions s WHERE s.endpoint_id = ?1 AND s.topic = new.value ->> 'topic')`,
    )
    .bind(
      endpointId, tenantId, JSON.stringify(subscriptions),
      selection.filter, selection.filterScope, selection.queue, nowMs, onlyNew ? 1 : 0,
    );
}

/** Makes an endpoint of the tenant a member of the queue, unless it is one; part of a batch. */
export function insertMembership(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  membership: { readonly id: string; readonly queue: string },
  nowMs: number,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO subscriptions (id, tenant_id, endpoint_id, queue, created_at)
       SELECT ?1, e.tenant_id, e.id, ?2, ?3 FROM endpoints e
       WHERE e.id = ?4 AND e.tenant_id = ?5
         AND NOT EXISTS (SELECT 1 FROM subscriptions s WHERE s.endpoint_id = e.id AND s.queue = ?2)`,
    )
    .bind(membership.id, membership.queue, nowMs, endpointId, tenantId);
}

/** Ends the endpoint's memberships that bind no topic, but in `keptQueue`; part of a batch. */
export function deleteOtherMemberships(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  keptQueue: string | null,
): D1PreparedStatement {
  return db
    .prepare("DELETE FROM subscriptions WHERE endpoint_id = ? AND tenant_id = ? AND topic IS NULL AND queue IS NOT ?")
    .bind(endpointId, tenantId, keptQueue);
}

/** Ends the endpoint's subscriptions to all patterns but these; part of a batch. */
export function deleteOtherSubscriptions(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  keptTopics: readonly string[],
): D1PreparedStatement {
  return db
    .prepare(
      `DELETE FROM subscriptions WHERE endpoint_id = ? AND tenant_id = ?
       AND topic IS NOT NULL AND topic NOT IN (SELECT value FROM json_each(?))`,
    )
    .bind(endpointId, tenantId, JSON.stringify(keptTopics));
}

/** What a PATCH may set of one subscription, or of all of an endpoint; what it leaves out stays. */
export type SelectionChange = Partial<Selection>;

/** Sets the given parts of every subscription of an endpoint to a topic; part of a batch. */
export function updateSelections(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  change: SelectionChange,
): D1PreparedStatement {
  const { assignments, values } = setClause(change);
  return db
    .prepare(`UPDATE subscriptions SET ${assignments} WHERE endpoint_id = ? AND tenant_id = ? AND topic IS NOT NULL`)
    .bind(...values, endpointId, tenantId);
}

/** Sets the given parts of one subscription; part of a batch. */
export function updateSubscription(
  db: D1Database,
  tenantId: string,
  id: string,
  change: SelectionChange & Partial<NullablePattern>,
): D1PreparedStatement {
  const { assignments, values } = setClause(change);
  return db
    .prepare(`UPDATE subscriptions SET ${assignments} WHERE id = ? AND tenant_id = ?`)
    .bind(...values, id, tenantId);
}

const COLUMN_OF = {
  topic: "topic",
  topicKey: "topic_key",
  filter: "filter",
  filterScope: "filter_scope",
  queue: "queue",
} as const;

type NullablePattern = { readonly [Field in keyof KeyedPattern]: KeyedPattern[Field] | null };

function setClause(change: SelectionChange & Partial<NullablePattern>): { assignments: string; values: (string | null)[] } {
  // never empty, so that an empty PATCH is a statement too
  const assignments = ["id = id"];
  const values: (string | null)[] = [];
  for (const field of ["topic", "topicKey", "filter", "filterScope", "queue"] as const) {
    const value = change[field];
    if (value === undefined) continue;
    assignments.push(`${COLUMN_OF[field]} = ?`);
    values.push(value);
  }
  return { assignments: assignments.join(", "), values };
}

/** Selects one subscription of the tenant; as the last statement of a batch it shows what the batch made of it. */
export function selectSubscription(db: D1Database, tenantId: string, id: string): D1PreparedStatement {
  return db.prepare(`${SELECT} WHERE id = ? AND tenant_id = ?`).bind(id, tenantId);
}

/** A row of {@link selectSubscription}; null when there is none. */
export function parseSubscription(row: unknown): SubscriptionRow | null {
  return row === undefined || row === null ? null : Columns.parse(row);
}

export async function findSubscription(db: D1Database, tenantId: string, id: string): Promise<SubscriptionRow | null> {
  return parseSubscription(await selectSubscription(db, tenantId, id).first());
}

export type SubscriptionFilter = { readonly endpointId?: string | undefined; readonly topic?: string | undefined };

/** Subscriptions of the tenant, newest first, from before the id `beforeId`; `topic` compares the pattern's text. */
export async function listSubscriptions(
  db: D1Database,
  tenantId: string,
  filter: SubscriptionFilter,
  options: { readonly limit: number; readonly beforeId: string | null },
): Promise<SubscriptionRow[]> {
  const { results } = await db
    .prepare(
      `${SELECT} WHERE tenant_id = ?1 AND (?2 IS NULL OR id < ?2)
         AND (?3 IS NULL OR endpoint_id = ?3) AND (?4 IS NULL OR topic = ?4)
       ORDER BY id DESC LIMIT ?5`,
    )
    .bind(tenantId, options.beforeId, filter.endpointId ?? null, filter.topic ?? null, options.limit)
    .all();
  return results.map((row) => Columns.parse(row));
}

export function deleteSubscription(db: D1Database, tenantId: string, id: string): D1PreparedStatement {
  return db.prepare("DELETE FROM subscriptions WHERE id = ? AND tenant_id = ?").bind(id, tenantId);
}

const Match = z.object({
  id: z.string(),
  endpointId: z.string(),
  topic: z.string(),
  filter: z.string().nullable(),
  filterScope: z.enum(["attributes", "body"]),
  queue: z.string().nullable(),
  status: z.enum(["active", "paused", "disabled"]),
  kind: z.enum(["push", "pull"]),
  ordered: z.number().transform((flag) => flag === 1),
  orderingKey: z.string().nullable(),
});

/** A subscription that may match, with what publishing needs to know of its endpoint. */
export type SubscriptionMatchRow = z.output<typeof Match>;

const BoundQueue = z.object({ queue: z.string(), topic: z.string() });

/** A queue that is bound to a pattern by itself. */
export type BoundQueueRow = z.output<typeof BoundQueue>;

/** What the patterns under some keys lead to, yet to be matched exactly. */
export type TopicMatches = {
  readonly subscriptions: readonly SubscriptionMatchRow[];
  readonly boundQueues: readonly BoundQueueRow[];
};

/**
 * The tenant's subscriptions and bound queues under any of these keys (`topicKeys(topic)`), to be matched exactly by
 * the caller; one round trip. A look-up or two by index a row, so the work grows with the matches and not with the tenant.
 */
export async function matchSubscriptions(
  db: D1Database,
  tenantId: string,
  keys: readonly string[],
): Promise<TopicMatches> {
  const keyList = JSON.stringify(keys);
  const [subscriptions, boundQueues] = await db.batch([
    db
      .prepare(
        `SELECT s.id, s.endpoint_id AS endpointId, s.topic, s.filter, s.filter_scope AS filterScope, s.queue, e.status, e.kind, e.ordered,
           e.ordering_key AS orderingKey
         FROM subscriptions s JOIN endpoints e ON e.id = s.endpoint_id AND e.tenant_id = s.tenant_id
         WHERE s.tenant_id = ? AND s.topic_key IN (SELECT value FROM json_each(?))`,
      )
      .bind(tenantId, keyList),
    db
      .prepare(
        `SELECT queue, topic FROM queue_topics
         WHERE tenant_id = ? AND topic_key IN (SELECT value FROM json_each(?))`,
      )
      .bind(tenantId, keyList),
  ]);
  return {
    subscriptions: (subscriptions?.results ?? []).map((row) => Match.parse(row)),
    boundQueues: (boundQueues?.results ?? []).map((row) => BoundQueue.parse(row)),
  };
}

/** How many subscriptions of the tenant have this key; counts no further than `atMost`. */
export async function countByKey(db: D1Database, tenantId: string, key: string, atMost: number): Promise<number> {
  const row = await db
    .prepare("SELECT count(*) AS n FROM (SELECT 1 FROM subscriptions WHERE tenant_id = ?1 AND topic_key = ?2 LIMIT ?3)")
    .bind(tenantId, key, atMost)
    .first();
  return z.object({ n: z.number() }).parse(row).n;
}

/** The characters of all filters of the tenant. */
export async function filterBytesOf(db: D1Database, tenantId: string): Promise<number> {
  const row = await db.prepare("SELECT total(length(filter)) AS n FROM subscriptions WHERE tenant_id = ?").bind(tenantId).first();
  return z.object({ n: z.number() }).parse(row).n;
}
