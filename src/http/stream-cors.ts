import { createMiddleware } from "hono/factory";
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
 * Streams may be read by pages of any origin: who may is decided by the token, which no browser sends by itself. A
 * preflight carries none, so it is answered before one is asked for.
 */
export const streamCors = createMiddleware<AppEnv>(async (c, next) => {
  const isPreflight = c.req.method === "OPTIONS" && c.req.header("access-control-request-method") !== undefined;
  if (isPreflight) {
    c.header("access-control-allow-methods", METHODS);
    c.header("access-control-allow-headers", REQUEST_HEADERS);
    c.header("access-control-max-age", PREFLIGHT_SECONDS);
    c.header("access-control-allow-origin", "*");
    return c.body(null, 204);
  }
  await next();
  c.header("access-control-allow-origin", "*");
  c.header("access-control-expose-headers", RESPONSE_HEADERS);
  c.header("cross-origin-resource-policy", "cross-origin");
  return undefined;
});
