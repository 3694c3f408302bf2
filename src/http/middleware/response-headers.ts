import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { newId } from "../../ids.ts";
import type { AppEnv } from "../router.ts";

/** What we take over from a caller: nothing that could break a log line or a header. */
const SANE_ID = /^[A-Za-z0-9_.:-]{8,128}$/;
const NOTHING_TO_LOAD = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
/** Two years. */
const STRICT_TRANSPORT = "max-age=63072000; includeSubDomains";

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

/** What an answer of the API has that nothing else was said of. */
const KEEPING_TO_ITSELF = {
  "x-content-type-options": "nosniff",
  "referrer-policy": "no-referrer",
  "x-frame-options": "DENY", // for what does not know frame-ancestors
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  "content-security-policy": NOTHING_TO_LOAD,
  "cache-control": "no-store",
};
/** What routes may say otherwise of their own answers. */
const OWN_WORD: ReadonlySet<string> = new Set(["cross-origin-resource-policy", "content-security-policy", "cache-control"]);

/** The headers of every answer, for one that has none of its own. */
export function headersOf(requestId: string, secure: boolean): Record<string, string> {
  const headers = { ...KEEPING_TO_ITSELF, "x-request-id": requestId };
  return secure ? { ...headers, "strict-transport-security": STRICT_TRANSPORT } : headers;
}

function setHeaders(headers: Headers, requestId: string, secure: boolean): void {
  for (const [name, value] of Object.entries(headersOf(requestId, secure))) {
    if (!OWN_WORD.has(name) || !headers.has(name)) headers.set(name, value);
  }
}
