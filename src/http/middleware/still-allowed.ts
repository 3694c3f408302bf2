import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import { isStillAllowed, mayGoOn, notAccepted } from "../callers.ts";
import { requestWorld } from "../request-world.ts";
import type { AppEnv } from "../router.ts";
import { credentialsOf } from "./authenticate.ts";

/** What answers by waiting for something to read. */
const QUERY = /^\/v1\/queries\//;

/**
 * What is read by waiting is given to who may have it when it is there: a token that was revoked while its request
 * waited, or whose tenant was suspended, gets nothing more. A stream of events ends; an answer becomes a 401. (A pull
 * that waits has begun its answer by then: it sees to itself.)
 */
export const stillAllowed = createMiddleware<AppEnv>(async (c, next) => {
  if (c.req.method !== "GET" && !QUERY.test(c.req.path)) return next();
  const startedAtMs = Date.now();
  await next();
  const { body } = c.res;
  if (body !== null && (c.res.headers.get("content-type") ?? "").startsWith("text/event-stream")) {
    c.res = new Response(whileAllowed(c, body), c.res);
    return;
  }
  if (Date.now() - startedAtMs < CACHE_MAX_AGE_MS || (await isStillAllowed(requestWorld(c), credentialsOf(c)))) return;
  await body?.cancel();
  c.res = undefined; // else Hono merges its headers into the refusal's
  notAccepted();
});

/** Passes on what comes as long as the request would still be let in: looked at before each piece, as of a second ago. */
function whileAllowed(c: Context<AppEnv>, body: ReadableStream<Uint8Array>): ReadableStream<Uint8Array> {
  const reader = body.getReader();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const { done, value } = await reader.read();
      if (!done && (await mayGoOn(requestWorld(c), credentialsOf(c)))) return controller.enqueue(value);
      if (!done) await reader.cancel("no longer allowed");
      controller.close();
    },
    cancel: (reason) => reader.cancel(reason),
  });
}
