import type { Context } from "hono";
import type { AppEnv } from "./router.ts";

/** What answering one request takes from the outside, whether a route or a lane does it. */
export type RequestWorld = {
  readonly env: Cloudflare.Env;
  readonly requestId: string;
  readonly inBackground: (work: Promise<unknown>) => void;
};

export function requestWorld(c: Context<AppEnv>): RequestWorld {
  return { env: c.env, requestId: c.get("requestId"), inBackground: (work) => c.executionCtx.waitUntil(work) };
}
