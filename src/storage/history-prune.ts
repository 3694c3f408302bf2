/** Rows one statement deletes at most, so that other queries of the one database get in between. */
const ROWS_PER_STATEMENT = 2_000;

// Every table is clustered by tenant (packs of attempts: and endpoint) and time. The recursive tables step from one tenant
// to the next with a seek each, so the cost is that of what is deleted, not of what is kept.

function tenantsOf(table: string): string {
  return `RECURSIVE tenants(id) AS (
    SELECT min(tenant_id) FROM ${table}
    UNION ALL SELECT (SELECT min(n.tenant_id) FROM ${table} n WHERE n.tenant_id > tenants.id) FROM tenants WHERE id IS NOT NULL
  )`;
}

const OLD_MESSAGE_PACKS = `FROM tenants CROSS JOIN message_packs m WHERE m.tenant_id = tenants.id AND m.time < ?1`;

/** The rows of ids that the messages of old packs have; few packs have any. They go before their packs. */
const PRUNE_IDS = `
  WITH ${tenantsOf("message_packs")},
  packs AS MATERIALIZED (
    SELECT m.tenant_id, m.first_time, m.stream, m.first_offset, m.indexed_ids, m.messages ${OLD_MESSAGE_PACKS} LIMIT ?2
  )
  DELETE FROM message_ids WHERE (tenant_id, id, time, stream, offset) IN (
    SELECT p.tenant_id, e.value ->> 0, p.first_time + (e.value ->> 1), p.stream, p.first_offset + e.key
    FROM packs p CROSS JOIN json_each(p.messages, '$.messages') e WHERE p.indexed_ids > 0)`;

const PRUNE_MESSAGES = `
  WITH ${tenantsOf("message_packs")}
  DELETE FROM message_packs WHERE (tenant_id, time, stream, first_offset) IN (
    SELECT m.tenant_id, m.time, m.stream, m.first_offset ${OLD_MESSAGE_PACKS} LIMIT ?2)`;

const PRUNE_EXPUNGED = `
  WITH ${tenantsOf("history_expunged")}
  DELETE FROM history_expunged WHERE (tenant_id, time, stream, offset) IN (
    SELECT x.tenant_id, x.time, x.stream, x.offset FROM tenants CROSS JOIN history_expunged x
    WHERE x.tenant_id = tenants.id AND x.time < ?1 LIMIT ?2)`;

const PRUNE_DELIVERIES = `
  WITH ${tenantsOf("deliveries")}
  DELETE FROM deliveries WHERE (tenant_id, message_time, stream, offset, endpoint_id) IN (
    SELECT d.tenant_id, d.message_time, d.stream, d.offset, d.endpoint_id FROM tenants CROSS JOIN deliveries d
    WHERE d.tenant_id = tenants.id AND d.message_time < ?1 AND d.status <> 'open' LIMIT ?2)`;

const PRUNE_ATTEMPTS = `
  WITH RECURSIVE owners(tenant_id, endpoint_id) AS (
    SELECT (SELECT tenant_id FROM attempt_packs ORDER BY tenant_id, endpoint_id LIMIT 1),
           (SELECT endpoint_id FROM attempt_packs ORDER BY tenant_id, endpoint_id LIMIT 1)
    UNION ALL SELECT
      (SELECT a.tenant_id FROM attempt_packs a WHERE (a.tenant_id, a.endpoint_id) > (owners.tenant_id, owners.endpoint_id)
       ORDER BY a.tenant_id, a.endpoint_id LIMIT 1),
      (SELECT a.endpoint_id FROM attempt_packs a WHERE (a.tenant_id, a.endpoint_id) > (owners.tenant_id, owners.endpoint_id)
       ORDER BY a.tenant_id, a.endpoint_id LIMIT 1)
    FROM owners WHERE owners.tenant_id IS NOT NULL
  )
  DELETE FROM attempt_packs WHERE (tenant_id, endpoint_id, time, stream, number) IN (
    SELECT a.tenant_id, a.endpoint_id, a.time, a.stream, a.number FROM owners CROSS JOIN attempt_packs a
    WHERE a.tenant_id = owners.tenant_id AND a.endpoint_id = owners.endpoint_id AND a.time < ?1 LIMIT ?2)`;

/**
 * Deletes messages, attempts and finished deliveries from before `olderThanMs`, of every tenant; an open delivery
 * stays until it ends. At most `limit` rows a table. Returns how many rows went in all, without those of ids.
 */
export async function pruneHistory(db: D1Database, olderThanMs: number, limit: number): Promise<number> {
  let deleted = 0;
  for (const statements of [[PRUNE_IDS, PRUNE_MESSAGES], [PRUNE_EXPUNGED], [PRUNE_DELIVERIES], [PRUNE_ATTEMPTS]]) {
    deleted += await pruneTable(db, statements, olderThanMs, limit);
  }
  return deleted;
}

/** @param statements of one transaction; the last one's rows count */
async function pruneTable(db: D1Database, statements: readonly string[], olderThanMs: number, limit: number): Promise<number> {
  let deleted = 0;
  while (deleted < limit) {
    const wanted = Math.min(ROWS_PER_STATEMENT, limit - deleted);
    // RETURNING counts rows; D1's own `changes` counts those of indexes too
    const results = await db.batch(statements.map((sql) => db.prepare(`${sql} RETURNING 1`).bind(olderThanMs, wanted)));
    const rows = results.at(-1)?.results.length ?? 0;
    deleted += rows;
    if (rows < wanted) break;
  }
  return deleted;
}
