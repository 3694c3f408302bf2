import { z } from "zod";
import type { RetentionSettings } from "../streams/contract.ts";

/** A topic that has, or had, messages, or settings of its own; `settings` null where the default applies. */
export type Topic = { readonly name: string; readonly settings: RetentionSettings | null };

const Settings = z.object({ retentionSeconds: z.number(), maxBytes: z.number().nullable() });
const Row = z.object({ name: z.string(), retentionSeconds: z.number().nullable(), maxBytes: z.number().nullable() });

/** The topic's own settings; null where the default applies. */
export async function findTopicSettings(db: D1Database, tenantId: string, name: string): Promise<RetentionSettings | null> {
  const row = await db
    .prepare("SELECT retention_seconds AS retentionSeconds, max_bytes AS maxBytes FROM topics WHERE tenant_id = ? AND name = ?")
    .bind(tenantId, name)
    .first();
  return row === null ? null : Settings.parse(row);
}

/** The tenant's topics by name, after `afterName`. */
export async function listTopics(
  db: D1Database,
  tenantId: string,
  page: { readonly afterName: string | null; readonly limit: number },
): Promise<Topic[]> {
  const { results } = await db
    .prepare(
      `SELECT n.name, t.retention_seconds AS retentionSeconds, t.max_bytes AS maxBytes
       FROM (
         SELECT * FROM (SELECT name FROM streams WHERE tenant_id = ?1 AND kind = 'topics' AND name > ?2 ORDER BY name LIMIT ?3)
         UNION
         SELECT * FROM (SELECT name FROM topics WHERE tenant_id = ?1 AND name > ?2 ORDER BY name LIMIT ?3)
       ) n LEFT JOIN topics t ON t.tenant_id = ?1 AND t.name = n.name
       ORDER BY n.name LIMIT ?3`,
    )
    .bind(tenantId, page.afterName ?? "", page.limit)
    .all();
  return results.map((row) => {
    const { name, retentionSeconds, maxBytes } = Row.parse(row);
    return { name, settings: retentionSeconds === null ? null : { retentionSeconds, maxBytes } };
  });
}

/** Gives the topic settings of its own; part of a batch. */
export function putTopicSettings(
  db: D1Database,
  tenantId: string,
  name: string,
  { retentionSeconds, maxBytes }: RetentionSettings,
  nowMs: number,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO topics (tenant_id, name, retention_seconds, max_bytes, updated_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO UPDATE SET retention_seconds = excluded.retention_seconds, max_bytes = excluded.max_bytes,
         updated_at = excluded.updated_at`,
    )
    .bind(tenantId, name, retentionSeconds, maxBytes, nowMs);
}

/** Back to the default; part of a batch. */
export function deleteTopicSettings(db: D1Database, tenantId: string, name: string): D1PreparedStatement {
  return db.prepare("DELETE FROM topics WHERE tenant_id = ? AND name = ?").bind(tenantId, name);
}
