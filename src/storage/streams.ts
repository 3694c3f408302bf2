import { z } from "zod";
import type { StreamRef } from "../streams/ref.ts";

/** A stream that has, or had, messages. `number` counts the tenant's streams from 1, in the order they appeared. */
export type KnownStream = { readonly number: number; readonly name: string };

const Known = z.object({ number: z.number(), name: z.string() });

/**
 * Notes that the stream exists; part of a batch. Nothing changes when that is known. Also of a tenant that was deleted:
 * how else would it be found, to be removed.
 */
export function rememberStream(db: D1Database, { tenantId, kind, name }: StreamRef, nowMs: number): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO streams (tenant_id, number, kind, name, created_at)
       SELECT t.id, (SELECT coalesce(max(number), 0) + 1 FROM streams WHERE tenant_id = ?1), ?2, ?3, ?4
       FROM tenants t WHERE t.id = ?1
       ON CONFLICT DO NOTHING`,
    )
    .bind(tenantId, kind, name, nowMs);
}

/** The tenant's topics with a number greater than this, in that order. */
export async function listTopicsAfter(db: D1Database, tenantId: string, number: number, limit: number): Promise<KnownStream[]> {
  const { results } = await db
    .prepare(
      `SELECT number, name FROM streams
       WHERE tenant_id = ? AND number > ? AND kind = 'topics' ORDER BY number LIMIT ?`,
    )
    .bind(tenantId, number, limit)
    .all();
  return results.map((row) => Known.parse(row));
}
