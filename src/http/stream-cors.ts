import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { isolateOf } from "../isolate.ts";
import type { AppEnv } from "./router.ts";

const METHODS = "GET, HEAD, PUT, POST, DELETE, OPTIONS";
const REQUEST_HEADERS = [
  "Authorization", "Content-Type", "If-None-Match", "Idempotency-Key", "Postern-Tenant", "Stream-Seq", "Stream-TTL",
  "Stream-Expires-At", "Stream-Closed", "Stream-Forked-From", "Stream-Fork-Offset", "Stream-Fork-Sub-Offset", "Producer-Id",
  "Producer-Epoch", "Producer-Seq",
].join(", ");
const RESPONSE_HEADERS = [
  "ETag", "Location", "Retry-After", "X-Request-Id", "Stream-Next-Offset", "Stream-Cursor", "Stream-Up-To-Date", "Stream-Closed",
  "Stream-TTL", "Stream-Expires-At", "Stream-SSE-Data-Encoding", "Stream-Earliest-Offset", "Producer-Epoch", "Producer-Seq",
  "Producer-Expected-Seq", "Producer-Received-Seq",
].join(", ");
const PREFLIGHT_SECONDS = "86400";

/**
 * Streams may be used by pages of the origins that are configured (`POSTERN_CORS_ORIGINS`), and by none otherwise: what
 * a preflight says then lacks the one header that would let a page through. It carries no token, so it is answered
 * before one is asked for.
 */
export const streamCors = createMiddleware<AppEnv>(async (c, next) => {
  const isPreflight = c.req.method === "OPTIONS" && c.req.header("access-control-request-method") !== undefined;
  if (isPreflight) {
    c.header("access-control-allow-methods", METHODS);
    c.header("access-control-allow-headers", REQUEST_HEADERS);
    c.header("access-control-max-age", PREFLIGHT_SECONDS);
    allowOrigin(c);
    return c.body(null, 204);
  }
  await next();
  if (allowOrigin(c)) {
    c.header("access-control-expose-headers", RESPONSE_HEADERS);
    c.header("cross-origin-resource-policy", "cross-origin");
  }
  return undefined;
});

/** Whether the asking page's origin is one of those configured; if so, the response says it. */
function allowOrigin(c: Context<AppEnv>): boolean {
  const { corsOrigins } = isolateOf(c.env).config;
  if (corsOrigins.size === 0) return false;
  if (corsOrigins.has("*")) {
    c.header("access-control-allow-origin", "*");
    return true;
  }
  c.header("vary", "Origin", { append: true });
  const origin = c.req.header("origin");
  if (origin === undefined || !corsOrigins.has(origin)) return false;
  c.header("access-control-allow-origin", origin);
  return true;
}
