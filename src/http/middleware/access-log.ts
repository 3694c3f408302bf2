import { createMiddleware } from "hono/factory";
import { matchedRoutes } from "hono/route";
import { log } from "../../log.ts";
import { countRequest } from "../request-counts.ts";
import type { AppEnv, Principal } from "../router.ts";

/** A request as its line in the log tells of it. */
export type AccessLine = {
  readonly method: string;
  readonly route: string;
  readonly status: number;
  readonly startedAtMs: number;
  readonly requestId: string;
  /** Undefined where it ended before that was settled. */
  readonly principal: Principal | undefined;
};

/**
 * One line a request: who asked for which route and how it ended. The route is its pattern, so neither ids nor
 * query strings, bodies or headers are in it. Plain publishes that were accepted are counted only: history has them.
 */
export const accessLog = createMiddleware<AppEnv>(async (c, next) => {
  const startedAtMs = Date.now();
  await next();
  const route = matchedRoutes(c).findLast(({ method }) => method !== "ALL")?.path ?? "unmatched";
  const { status } = c.res;
  const { method } = c.req;
  countRequest(method, route, status);
  accessLine({ method, route, status, startedAtMs, requestId: c.get("requestId"), principal: c.get("principal") });
});

export function accessLine({ method, route, status, startedAtMs, requestId, principal }: AccessLine): void {
  log(status >= 500 ? "error" : "info", "request", {
    method,
    route,
    status,
    durationMs: Date.now() - startedAtMs,
    tenant: principal?.tenantId,
    tokenId: principal?.tokenId,
    requestId,
  });
}
