import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { RecentMap } from "../../recent-map.ts";
import type { Config } from "../../config.ts";
import type { TenantLimits } from "../../storage/limits.ts";
import { type AppEnv, fail, type RateLimitState } from "../router.ts";
import { fullBucket, takeFrom, type TokenBucket } from "../token-bucket.ts";

const MAX_TENANTS = 10_000;
/** An operator must be able to raise the limit of a tenant that has used it up. */
const NOT_LIMITED = /^\/v1\/tenants(?:\/|$)/;

/** By tenant, in this isolate: a limit costs no request to anywhere, and holds for each isolate by itself. */
const requestBuckets = new RecentMap<TokenBucket>(MAX_TENANTS);
const publishBuckets = new RecentMap<TokenBucket>(MAX_TENANTS);

/**
 * Bounds the requests of a tenant; 429 with `Retry-After` beyond. Every answer says in `RateLimit` and
 * `RateLimit-Policy` what is left (draft-ietf-httpapi-ratelimit-headers).
 */
export const rateLimit = createMiddleware<AppEnv>((c, next) => {
  if (!NOT_LIMITED.test(c.req.path)) {
    c.set("rateLimit", takeRequest(c.get("principal").tenantId, c.get("limits"), c.get("config")));
  }
  return next();
});

/** Ends the request with 429 when the tenant publishes more than it may; `count` messages are counted otherwise. */
export function requirePublishRate(c: Context<AppEnv>, count: number): void {
  const state = takeMessages(c.get("principal").tenantId, c.get("limits"), count);
  // the more particular limit takes the place of the general one
  if (state !== null) c.set("rateLimit", state);
}

/** Counts a request of the tenant, or ends it with 429. */
export function takeRequest(tenantId: string, limits: TenantLimits, config: Config): RateLimitState {
  return take({ name: "requests", buckets: requestBuckets, ratePerSecond: limits.requestsPerSecond ?? config.requestsPerSecond }, tenantId, 1);
}

/** Counts messages that the tenant publishes, or ends the request with 429; null where it may publish any number. */
export function takeMessages(tenantId: string, { publishPerSecond: ratePerSecond }: TenantLimits, count: number): RateLimitState | null {
  return ratePerSecond === null ? null : take({ name: "publish", buckets: publishBuckets, ratePerSecond }, tenantId, count);
}

type Limit = {
  readonly name: "requests" | "publish";
  readonly buckets: RecentMap<TokenBucket>;
  readonly ratePerSecond: number;
};

function take({ name, buckets, ratePerSecond }: Limit, tenantId: string, count: number): RateLimitState {
  const nowMs = Date.now();
  let bucket = buckets.get(tenantId);
  if (bucket === undefined) {
    bucket = fullBucket(ratePerSecond, nowMs);
    buckets.set(tenantId, bucket);
  }
  const taken = takeFrom(bucket, count, ratePerSecond, nowMs);
  const state = {
    policy: `"${name}";q=${ratePerSecond};w=1`,
    state: `"${name}";r=${taken.ok ? taken.remaining : 0};t=${taken.ok ? 1 : taken.retryAfterSeconds}`,
  };
  if (taken.ok) return state;
  return fail({
    code: "rate-limited",
    detail: `The tenant is allowed ${ratePerSecond} ${name === "publish" ? "messages" : "requests"} a second: send it again after \`Retry-After\`.`,
    headers: { "retry-after": String(taken.retryAfterSeconds), "ratelimit-policy": state.policy, ratelimit: state.state },
  });
}
