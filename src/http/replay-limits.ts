import type { Context } from "hono";
import { countRunningJobs } from "../storage/jobs.ts";
import { type AppEnv, fail } from "./router.ts";

const RETRY_AFTER_SECONDS = "60";

/** Ends the request with 422 when it would have more messages delivered again than the tenant may at once. */
export function requireReplayable(c: Context<AppEnv>, count: number): void {
  const { replayMessages: most } = c.get("limits");
  if (most === null || count <= most) return;
  fail({
    code: "limit-reached",
    detail: `These are ${count} messages, and the tenant may have ${most} delivered again at once: ask for a shorter stretch, or an operator for more.`,
  });
}

/** Ends the request with 429 when as many replays run as the tenant may have; requests at the same moment may go beyond. */
export async function requireReplayJob(c: Context<AppEnv>): Promise<void> {
  const { replayJobs: most } = c.get("limits");
  if (most === null || (await countRunningJobs(c.env.DB, c.get("principal").tenantId, most)) < most) return;
  fail({
    code: "rate-limited",
    detail: `The tenant may have ${most} replays running: wait for one to end, or stop one at /v1/jobs.`,
    headers: { "retry-after": RETRY_AFTER_SECONDS },
  });
}

/** How many of `atMost` one request may open again; what is left is for the next. */
export function replayableOf(c: Context<AppEnv>, atMost: number): number {
  return Math.min(c.get("limits").replayMessages ?? atMost, atMost);
}
