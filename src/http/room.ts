import type { Context } from "hono";
import { RecentReads } from "../recent-reads.ts";
import { type Counted, countOf } from "../storage/limits.ts";
import { type AppEnv, fail } from "./router.ts";

/**
 * As many as one tenant may have where it has no limit of its own: far more than anyone needs, and few enough that no
 * tenant fills the database, nor has a message go to more receivers than one call to its stream can name.
 */
export const CEILINGS: Readonly<Record<Counted, number>> = {
  endpoints: 250_000,
  subscriptions: 1_000_000,
  queues: 10_000,
  topics: 100_000,
  sources: 1_000,
  tokens: 10_000,
  consumers: 100_000,
  streams: 1_000_000,
};

const COUNT_MAX_AGE_MS = 10_000;
const MAX_CACHED = 10_000;
/** Below this share of a large limit a count is believed for a while: it takes longer to get from there to the limit. */
const FAR = 0.9;
const LARGE = 1_000;

const recentCounts = new RecentReads<number>(COUNT_MAX_AGE_MS, MAX_CACHED);

/**
 * Ends the request with 422 once the tenant has as many as it may, unless what it is about is there already. Requests at
 * the same moment may go beyond by their number.
 */
export async function requireRoom(c: Context<AppEnv>, what: Counted, isThere: () => Promise<boolean> = async () => false): Promise<void> {
  const most = (what === "endpoints" ? c.get("limits").endpoints : null) ?? CEILINGS[what];
  const { tenantId } = c.get("principal");
  const key = `${tenantId}/${what}`;
  const nowMs = Date.now();
  const known = most < LARGE ? undefined : recentCounts.get(key, nowMs);
  if (known !== undefined && known < most * FAR) return;
  const count = await countOf(c.env.DB, what, tenantId, most);
  recentCounts.set(key, count, nowMs);
  if (count < most || (await isThere())) return;
  fail({ code: "limit-reached", detail: `The tenant may have ${most} ${what}: delete one, or ask an operator for more.` });
}
