import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { callerOf, type Credentials } from "../callers.ts";
import { requestWorld } from "../request-world.ts";
import type { AppEnv } from "../router.ts";

/** Settles who asks and for which tenant, or ends the request: see {@link callerOf}. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const { principal, limits } = await callerOf(requestWorld(c), credentialsOf(c));
  c.set("principal", principal);
  c.set("limits", limits);
  return next();
});

/** What the request brings to say who it is from. */
export function credentialsOf(c: Context<AppEnv>): Credentials {
  return { authorization: c.req.header("authorization"), tenant: c.req.header("postern-tenant") };
}
