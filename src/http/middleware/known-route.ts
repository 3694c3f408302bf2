import type { Hono } from "hono";
import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import { type AppEnv, fail } from "../router.ts";

/** What has no route here has a target that is none: too many segments, or too few. */
const TARGET_PATH = /^\/v1\/(?:events|commands|queries|direct)\/./;
const TARGETS =
  "A topic or node is one path segment, such as /v1/events/orders.completed; a command or query has two, the queue and " +
  "its method, such as /v1/commands/invoices/print.";

/** Under this method Hono files middleware, which is no answer to a request. */
const ANY_METHOD = "ALL";

/**
 * Answers 404 for a path that has no route (400 where a target should stand in it), and 405 with `Allow` (RFC 9110
 * §15.5.6) for a method the path does not have, before anything else is asked of the request; OPTIONS answers what is
 * allowed.
 */
export function knownRoute(app: Hono<AppEnv>) {
  return createMiddleware<AppEnv>(async (c, next) => {
    if (matchedRoutes(c).some((route) => route.method !== ANY_METHOD)) return next();
    const allowed = allowedMethods(app, c.req.path);
    if (allowed.length === 0) {
      if (TARGET_PATH.test(c.req.path)) return fail({ code: "malformed-target", detail: TARGETS });
      return fail({ code: "not-found", detail: "There is nothing at this path: see /docs for those there are." });
    }
    const allow = allowed.join(", ");
    if (c.req.method === "OPTIONS") return c.body(null, 204, { allow });
    return fail({ code: "method-not-allowed", detail: `Use ${allow} here.`, headers: { allow } });
  });
}

function allowedMethods(app: Hono<AppEnv>, path: string): string[] {
  const methods = new Set(app.routes.map((route) => route.method));
  methods.delete(ANY_METHOD);
  const allowed = [...methods].filter((method) =>
    app.router.match(method, path)[0].some(([[, route]]) => route.method !== ANY_METHOD),
  );
  if (allowed.includes("GET")) allowed.push("HEAD");
  if (allowed.length > 0) allowed.push("OPTIONS");
  return allowed.sort();
}
