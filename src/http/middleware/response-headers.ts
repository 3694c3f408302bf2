import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { newId } from "../../ids.ts";
import type { AppEnv } from "../router.ts";

/** What we take over from a caller: nothing that could break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9_.:-]{8,128}$/;
const NOTHING_TO_LOAD = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
const TWO_YEARS_SECONDS = 63_072_000;

/**
 * Every request has an id: the caller's `x-request-id` where it is sane, else a new one; the response carries it,
 * and the headers that keep a browser from doing anything with it but show it.
 */
export const responseHeaders = createMiddleware<AppEnv>(async (c, next) => {
  const requestId = requestIdOf(c.req.header("x-request-id"));
  c.set("requestId", requestId);
  await next();
  const { headers } = writableResponse(c);
  setHeaders(headers, requestId, c.req.url.startsWith("https:"));
  const rateLimit = c.get("rateLimit");
  // a refusal has those of the limit that was reached
  if (rateLimit === undefined || headers.has("ratelimit")) return;
  headers.set("ratelimit-policy", rateLimit.policy);
  headers.set("ratelimit", rateLimit.state);
});

/** The caller's own id of the request where it is sane, else a new one. */
export function requestIdOf(given: string | undefined): string {
  return given !== undefined && SANE_ID.test(given) ? given : newId("req", Date.now());
}

/** The headers of a response that was fetched can not be changed: then a copy of it takes its place. */
function writableResponse(c: Context<AppEnv>): Response {
  try {
    c.res.headers.delete("x-request-id");
    return c.res;
  } catch (thrown) {
    if (!(thrown instanceof TypeError)) throw thrown;
    const copy = new Response(c.res.body, c.res);
    c.res = undefined; // else Hono merges the headers of the old one into the new
    c.res = copy;
    return copy;
  }
}

function setHeaders(headers: Headers, requestId: string, secure: boolean): void {
  headers.set("x-request-id", requestId);
  headers.set("x-content-type-options", "nosniff");
  headers.set("referrer-policy", "no-referrer");
  headers.set("x-frame-options", "DENY"); // for what does not know frame-ancestors
  headers.set("cross-origin-opener-policy", "same-origin");
  if (!headers.has("cross-origin-resource-policy")) headers.set("cross-origin-resource-policy", "same-origin");
  if (!headers.has("content-security-policy")) headers.set("content-security-policy", NOTHING_TO_LOAD);
  if (!headers.has("cache-control")) headers.set("cache-control", "no-store");
  if (secure) headers.set("strict-transport-security", `max-age=${TWO_YEARS_SECONDS}; includeSubDomains`);
}
