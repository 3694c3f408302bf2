import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import { log } from "../../log.ts";
import { countRequest } from "../request-counts.ts";
import type { AppEnv } from "../router.ts";

/**
 * One line a request: who asked for which route and how it ended. The route is its pattern, so neither ids nor
 * query strings, bodies or headers are in it.
 */
export const accessLog = createMiddleware<AppEnv>(async (c, next) => {
  const startedAtMs = Date.now();
  await next();
  const route = matchedRoutes(c).findLast(({ method }) => method !== "ALL")?.path ?? "unmatched";
  const { status } = c.res;
  countRequest(c.req.method, route, status);
  const principal: AppEnv["Variables"]["principal"] | undefined = c.get("principal");
  log(status >= 500 ? "error" : "info", "request", {
    method: c.req.method,
    route,
    status,
    durationMs: Date.now() - startedAtMs,
    tenant: principal?.tenantId,
    tokenId: principal?.tokenId,
    requestId: c.get("requestId"),
  });
});
