import { createMiddleware } from "hono/factory";
import { isolateOf } from "../../isolate.ts";
import { forgetCallers } from "../callers.ts";
import type { AppEnv } from "../router.ts";

const CONTROL_PLANE = /^\/v1\/(?:endpoints|subscriptions|queues|tenants)(?:\/|$)/;
/** What consumers do with their messages, all the time. */
const CONSUMING = /\/(?:ack|nack|extend|messages\/[^/]+)$/;
const READS: ReadonlySet<string> = new Set(["GET", "HEAD", "OPTIONS"]);

/**
 * Whoever changed the control plane through this isolate sees the change at once: what it read before is forgotten.
 * Other isolates see it within the second that their copies live.
 */
export const ownChanges = createMiddleware<AppEnv>(async (c, next) => {
  await next();
  if (READS.has(c.req.method) || !CONTROL_PLANE.test(c.req.path) || CONSUMING.test(c.req.path)) return;
  const { routes, directory, world } = isolateOf(c.env);
  routes.forget(world.now());
  directory.forget(world.now());
  forgetCallers(world.now());
});
