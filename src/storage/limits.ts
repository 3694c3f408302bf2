import { z } from "zod";

/** What one tenant may use; null: as much as the gateway allows anyone. Rates hold for each isolate by itself. */
export type TenantLimits = {
  readonly requestsPerSecond: number | null;
  /** Messages, however many come in one request. */
  readonly publishPerSecond: number | null;
  readonly endpoints: number | null;
  /** Of one message, in bytes. */
  readonly payloadBytes: number | null;
  /** Messages that one request may have delivered again. */
  readonly replayMessages: number | null;
  /** Replays that run at the same time. */
  readonly replayJobs: number | null;
};

export const NO_LIMITS: TenantLimits = {
  requestsPerSecond: null,
  publishPerSecond: null,
  endpoints: null,
  payloadBytes: null,
  replayMessages: null,
  replayJobs: null,
};

const limit = z.number().int().nullable().default(null);
const Stored = z.object({
  requestsPerSecond: limit,
  publishPerSecond: limit,
  endpoints: limit,
  payloadBytes: limit,
  replayMessages: limit,
  replayJobs: limit,
});

/** The limits as `tenants.limits` holds them. */
export function parseLimits(text: string): TenantLimits {
  return Stored.parse(JSON.parse(text));
}

/** The text for `tenants.limits`: only what is set. */
export function formatLimits(limits: TenantLimits): string {
  return JSON.stringify(Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== null)));
}

/** What there may be so many of in one tenant, with the table that has them. */
const COUNTED = {
  endpoints: "endpoints",
  subscriptions: "subscriptions",
  queues: "queues",
  topics: "topics",
  sources: "sources",
  tokens: "tokens",
  consumers: "consumer_offsets",
  streams: "own_streams",
} as const;

export type Counted = keyof typeof COUNTED;

/** How many the tenant has; counts no further than `atMost`. */
export async function countOf(db: D1Database, what: Counted, tenantId: string, atMost: number): Promise<number> {
  const row = await db
    .prepare(`SELECT count(*) AS n FROM (SELECT 1 FROM ${COUNTED[what]} WHERE tenant_id = ?1 LIMIT ?2)`)
    .bind(tenantId, atMost)
    .first();
  return z.object({ n: z.number() }).parse(row).n;
}
