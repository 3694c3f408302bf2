import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { RecentReads } from "../../recent-reads.ts";
import { findNodeEndpoint } from "../../storage/endpoints.ts";
import { type AppEnv, fail, type Principal } from "../router.ts";

const MAX_CACHED = 10_000;

const OF_AN_ENDPOINT = /^\/v1\/endpoints\/([^/]+)(?:\/|$)/;
/** By their receipts alone: the route takes those of the token's own endpoint only. */
const SETTLING = /^\/v1\/pull\/(?:ack|nack|extend)$/;
/** What a subscriber sends is not to its endpoint; what it answers, it was asked. */
const SENDING = /^\/v1\/(?:(?:events|commands|queries|direct)\/.+|batch|messages\/[^/]+\/reply)$/;

/** The endpoint that has a node name, by tenant and node; while none has it, it is asked for every time. */
const recentNodes = new RecentReads<string>(CACHE_MAX_AGE_MS, MAX_CACHED);

/**
 * Keeps a bound token to its own endpoint: any other answers 404, as if it did not exist, and what is of no endpoint
 * 403, but for sending. Runs before anything that could give it the answer to another one's request.
 */
export const boundToken = createMiddleware<AppEnv>(async (c, next) => {
  const { binding, tenantId } = c.get("principal");
  if (binding === undefined || (c.req.method === "POST" && SENDING.test(c.req.path))) return next();
  const asked = OF_AN_ENDPOINT.exec(c.req.path)?.[1];
  if (asked === undefined && !SETTLING.test(c.req.path)) {
    fail({ code: "bound-token", detail: "This token is bound to one endpoint: use it at `/v1/endpoints/{id}` of that one, or to publish." });
  }
  const own = binding.endpointId ?? (await endpointOfNode(c, tenantId, binding.node));
  if (own === null || (asked !== undefined && asked !== own)) {
    return fail({ code: "not-found", detail: "There is no endpoint with this id." });
  }
  c.set("boundEndpointId", own);
  return next();
});

async function endpointOfNode(c: Context<AppEnv>, tenantId: Principal["tenantId"], node: string): Promise<string | null> {
  const key = `${tenantId}/${node}`;
  const nowMs = Date.now();
  const known = recentNodes.get(key, nowMs);
  if (known !== undefined) return known;
  const endpoint = await findNodeEndpoint(c.env.DB, tenantId, node);
  if (endpoint === null) return null;
  recentNodes.set(key, endpoint.endpointId, nowMs);
  return endpoint.endpointId;
}
