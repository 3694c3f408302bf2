import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { callerOf, type Credentials } from "../callers.ts";
import { ProblemError } from "../problem.ts";
import type { AppEnv } from "../router.ts";

/** Settles who asks and for which tenant, or ends the request: see {@link callerOf}. */
export const authenticate = createMiddleware<AppEnv>(async (c, next) => {
  const { principal, limits } = await callerOf(c, credentialsOf(c));
  c.set("principal", principal);
  c.set("limits", limits);
  return next();
});

/** Whether a request that was let in would be let in now, as of at most a second ago. Throws when that can not be told. */
export async function isStillAllowed(c: Context<AppEnv>): Promise<boolean> {
  try {
    await callerOf(c, credentialsOf(c));
    return true;
  } catch (thrown) {
    if (thrown instanceof ProblemError && thrown.problem.code !== "unavailable") return false;
    throw thrown;
  }
}

function credentialsOf(c: Context<AppEnv>): Credentials {
  return { authorization: c.req.header("authorization"), tenant: c.req.header("postern-tenant") };
}
