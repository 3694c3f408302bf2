import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { RecentReads } from "../recent-reads.ts";
import { queueExists } from "../storage/queues.ts";

const MAX_CACHED = 10_000;

/** Found queues by tenant and name; one that was not found is asked for again every time. */
const recentQueues = new RecentReads<true>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** Whether the tenant has a queue of this name, as of at most a second ago. Throws when D1 can not be read. */
export async function isKnownQueue(db: D1Database, tenantId: string, name: string, nowMs: number): Promise<boolean> {
  const key = `${tenantId}/${name}`;
  if (recentQueues.get(key, nowMs) === true) return true;
  const exists = await queueExists(db, tenantId, name);
  if (exists) recentQueues.set(key, true, nowMs);
  return exists;
}
