import { createMiddleware } from "hono/factory";
import { callerOf } from "../callers.ts";
import type { AppEnv } from "../router.ts";

/** Settles who asks and for which tenant, or ends the request: see {@link callerOf}. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const credentials = { authorization: c.req.header("authorization"), tenant: c.req.header("postern-tenant") };
  const { principal, limits } = await callerOf(c, credentials);
  c.set("principal", principal);
  c.set("limits", limits);
  return next();
});
