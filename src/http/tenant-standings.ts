import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { RecentReads } from "../recent-reads.ts";
import { getTenant, type TenantStanding } from "../storage/tenants.ts";

const MAX_CACHED = 10_000;

/** Found tenants by id; what was not found is asked again every time. */
const recentStandings = new RecentReads<TenantStanding>(CACHE_MAX_AGE_MS, MAX_CACHED);

/**
 * How the tenant stands, as of at most a second ago; null when there is none of that id. In steady traffic nobody
 * waits for the read.
 */
export async function standingOf(
  db: D1Database,
  tenantId: string,
  nowMs: number,
  inBackground: (work: Promise<unknown>) => void,
): Promise<TenantStanding | null> {
  const known = recentStandings.get(tenantId, nowMs);
  const read = async (): Promise<TenantStanding | null> => {
    const tenant = await getTenant(db, tenantId);
    if (tenant !== null) recentStandings.set(tenantId, tenant, nowMs);
    return tenant;
  };
  if (known === undefined) return read();
  // A failure is told to whoever has to wait for the read once this value is too old.
  if (recentStandings.claimRefresh(tenantId, nowMs)) inBackground(read().catch(() => undefined));
  return known;
}

/** How the tenant stands, where that was read within the last second; null also when it is time to read it again. */
export function knownStanding(tenantId: string, nowMs: number): TenantStanding | null {
  return recentStandings.isAging(tenantId, nowMs) ? null : (recentStandings.get(tenantId, nowMs) ?? null);
}

/** After a change that this isolate made itself. */
export function forgetStandings(nowMs: number): void {
  recentStandings.forget(nowMs);
}
