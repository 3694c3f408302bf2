import { WorkerEntrypoint } from "cloudflare:workers";
import { isolateOf } from "../isolate.ts";

const POLL_MS = 20;
/** The longest wait for attempts under way: whatever takes longer is made again after the restart. */
const MAX_WAIT_MS = 10_000;
/** Longer than a stream takes to write what its last attempts came to. */
const CHECKPOINT_MS = 1_200;

/**
 * Lets attempts under way end before the process does: from the first request on none begins, and the answer comes once
 * none is under way and what they came to is on disk. Bound by `npm start` alone, to a socket of its own, for the operator.
 */
export class Drain extends WorkerEntrypoint<Cloudflare.Env> {
  override async fetch(request: Request): Promise<Response> {
    const { config, slots } = isolateOf(this.env);
    if (config.adminToken === null || request.headers.get("authorization") !== `Bearer ${config.adminToken}`) {
      return new Response(null, { status: 401 });
    }
    slots.close();
    const startedAtMs = Date.now();
    const isQuiet = (): boolean => slots.inUse === 0 && Date.now() - slots.lastReleasedAtMs > CHECKPOINT_MS;
    while (!isQuiet() && Date.now() - startedAtMs < MAX_WAIT_MS) await scheduler.wait(POLL_MS);
    return Response.json({ underWay: slots.inUse });
  }
}
