import type { Context } from "hono";
import { parsePattern, topicKey } from "../messages/topic.ts";
import { RecentReads } from "../recent-reads.ts";
import { countByKey, filterBytesOf } from "../storage/subscriptions.ts";
import { type AppEnv, fail } from "./router.ts";

/** Subscriptions that share a topic, or the beginning of a pattern: every publish reads, and delivers to, all that match. */
export const MAX_PER_KEY = 50_000;
/** Filters of one tenant, as JSON: a publish compiles those that match, in the memory that tenants share. */
export const MAX_FILTER_BYTES = 16 * 1024 * 1024;

const MAX_AGE_MS = 10_000;
const MAX_CACHED = 10_000;
/** Below this share of a limit a count is believed for a while. */
const FAR = 0.9;

const recentCounts = new RecentReads<number>(MAX_AGE_MS, MAX_CACHED);
const recentBytes = new RecentReads<number>(MAX_AGE_MS, MAX_CACHED);

/** What is to be subscribed to: patterns, and the filter that each of them gets. */
export type Wanted = { readonly topics: readonly string[]; readonly filter: unknown };

/**
 * Ends the request with 422 when it would have more subscriptions match one message, or more filters tried on it, than
 * a publish can bear. Requests at the same moment may go beyond by their number. A malformed pattern is judged later.
 */
export async function requireFanOut(c: Context<AppEnv>, { topics, filter }: Wanted): Promise<void> {
  for (const key of new Set(topics.flatMap(keyOf))) {
    const count = await believed(recentCounts, c, key, MAX_PER_KEY, (tenantId) => countByKey(c.env.DB, tenantId, key, MAX_PER_KEY));
    if (count < MAX_PER_KEY) continue;
    fail({ code: "limit-reached", detail: `${MAX_PER_KEY} subscriptions share a topic, or the beginning of a pattern, with this one: end some of them.` });
  }
  if (filter === null || filter === undefined) return;
  const bytes = JSON.stringify(filter).length * Math.max(1, topics.length);
  const before = await believed(recentBytes, c, "", MAX_FILTER_BYTES - bytes, (tenantId) => filterBytesOf(c.env.DB, tenantId));
  if (before + bytes <= MAX_FILTER_BYTES) return;
  fail({ code: "limit-reached", detail: `The filters of the tenant would be more than ${MAX_FILTER_BYTES} bytes: make them shorter, or filter at the receiver.` });
}

async function believed(
  recent: RecentReads<number>,
  c: Context<AppEnv>,
  what: string,
  most: number,
  read: (tenantId: string) => Promise<number>,
): Promise<number> {
  const { tenantId } = c.get("principal");
  const key = `${tenantId}/${what}`;
  const nowMs = Date.now();
  const known = recent.get(key, nowMs);
  if (known !== undefined && known < most * FAR) return known;
  const count = await read(tenantId);
  recent.set(key, count, nowMs);
  return count;
}

function keyOf(text: string): string[] {
  const parsed = parsePattern(text);
  return parsed.ok ? [topicKey(parsed.pattern)] : [];
}
