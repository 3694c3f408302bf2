/** Rows one statement deletes at most, so that other queries of the one database get in between. */
const ROWS_PER_STATEMENT = 2_000;

// Every table is clustered by tenant (attempts: and endpoint) and time. The recursive tables step from one tenant
// to the next with a seek each, so the cost is that of what is deleted, not of what is kept.

const PRUNE_MESSAGES = `
  WITH RECURSIVE tenants(id) AS (
    SELECT min(tenant_id) FROM messages
    UNION ALL SELECT (SELECT min(m.tenant_id) FROM messages m WHERE m.tenant_id > tenants.id) FROM tenants WHERE id IS NOT NULL
  )
  DELETE FROM messages WHERE (tenant_id, time, stream, offset) IN (
    SELECT m.tenant_id, m.time, m.stream, m.offset FROM tenants CROSS JOIN messages m
    WHERE m.tenant_id = tenants.id AND m.time < ?1 LIMIT ?2)`;

const PRUNE_DELIVERIES = `
  WITH RECURSIVE tenants(id) AS (
    SELECT min(tenant_id) FROM deliveries
    UNION ALL SELECT (SELECT min(d.tenant_id) FROM deliveries d WHERE d.tenant_id > tenants.id) FROM tenants WHERE id IS NOT NULL
  )
  DELETE FROM deliveries WHERE (tenant_id, message_time, stream, offset, endpoint_id) IN (
    SELECT d.tenant_id, d.message_time, d.stream, d.offset, d.endpoint_id FROM tenants CROSS JOIN deliveries d
    WHERE d.tenant_id = tenants.id AND d.message_time < ?1 AND d.status <> 'open' LIMIT ?2)`;

const PRUNE_ATTEMPTS = `
  WITH RECURSIVE owners(tenant_id, endpoint_id) AS (
    SELECT (SELECT tenant_id FROM attempts ORDER BY tenant_id, endpoint_id LIMIT 1),
           (SELECT endpoint_id FROM attempts ORDER BY tenant_id, endpoint_id LIMIT 1)
    UNION ALL SELECT
      (SELECT a.tenant_id FROM attempts a WHERE (a.tenant_id, a.endpoint_id) > (owners.tenant_id, owners.endpoint_id)
       ORDER BY a.tenant_id, a.endpoint_id LIMIT 1),
      (SELECT a.endpoint_id FROM attempts a WHERE (a.tenant_id, a.endpoint_id) > (owners.tenant_id, owners.endpoint_id)
       ORDER BY a.tenant_id, a.endpoint_id LIMIT 1)
    FROM owners WHERE owners.tenant_id IS NOT NULL
  )
  DELETE FROM attempts WHERE (tenant_id, endpoint_id, time, id) IN (
    SELECT a.tenant_id, a.endpoint_id, a.time, a.id FROM owners CROSS JOIN attempts a
    WHERE a.tenant_id = owners.tenant_id AND a.endpoint_id = owners.endpoint_id AND a.time < ?1 LIMIT ?2)`;

/**
 * Deletes messages, attempts and finished deliveries from before `olderThanMs`, of every tenant; an open delivery
 * stays until it ends. At most `limit` rows a table. Returns how many rows went in all.
 */
export async function pruneHistory(db: D1Database, olderThanMs: number, limit: number): Promise<number> {
  let deleted = 0;
  for (const sql of [PRUNE_MESSAGES, PRUNE_DELIVERIES, PRUNE_ATTEMPTS]) {
    deleted += await pruneTable(db, sql, olderThanMs, limit);
  }
  return deleted;
}

async function pruneTable(db: D1Database, sql: string, olderThanMs: number, limit: number): Promise<number> {
  let deleted = 0;
  while (deleted < limit) {
    const wanted = Math.min(ROWS_PER_STATEMENT, limit - deleted);
    // RETURNING counts rows; D1's own `changes` counts those of indexes too
    const { results } = await db.prepare(`${sql} RETURNING 1`).bind(olderThanMs, wanted).all();
    deleted += results.length;
    if (results.length < wanted) break;
  }
  return deleted;
}
