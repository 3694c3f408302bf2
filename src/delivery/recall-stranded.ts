import { isolateOf } from "../isolate.ts";
import { log } from "../log.ts";
import { boxOfQueue } from "../mailbox/box-of.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { listPushedQueues } from "../storage/queues.ts";
import { recallQueue } from "./recall.ts";

/** With more queues than that they take turns, a run each. */
const QUEUES_PER_RUN = 20;
const MESSAGES_PER_QUEUE = 2_000;

/**
 * Recalls what is in the mailboxes of queues that have someone to push to: what was on its way into one while the
 * first member came, and what was too much for one recall. How many messages; bounded, so that the rest is for the
 * next runs. `turn` counts the runs.
 */
export async function recallStranded(env: Cloudflare.Env, turn: number): Promise<number> {
  const mailbox = openMailbox(env, isolateOf(env).config);
  let recalled = 0;
  for (const queue of await listPushedQueues(env.DB, { limit: QUEUES_PER_RUN, turn })) {
    const depth = await mailbox.depth(boxOfQueue(queue));
    if (!depth.ok) {
      log("warn", "queue.recall-failed", { queue: queue.name, code: depth.code, detail: depth.detail });
      return recalled; // a mailbox that fails for one queue fails for the next one too
    }
    if (depth.visible > 0) recalled += await recallQueue(env, queue.tenantId, queue.name, MESSAGES_PER_QUEUE);
  }
  return recalled;
}
