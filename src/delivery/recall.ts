import { isolateOf } from "../isolate.ts";
import { log } from "../log.ts";
import { boxOfQueue } from "../mailbox/box-of.ts";
import type { ReceivedMessage } from "../mailbox/mailbox.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { findQueue } from "../storage/queues.ts";
import { streamName } from "../streams/ref.ts";
import { streamStub } from "../streams/stub.ts";
import { MEMBER_TARGET } from "./destination.ts";

/** Long enough to re-open ten messages; if that fails they are there to be pulled or recalled again. */
const VISIBILITY_SECONDS = 30;
const MAX_PER_CALL = 10;
/** What one recall takes at most; pulling and the cron's recalls take the rest. */
const MAX_RECALLED = 10_000;

/**
 * Brings what waits in a queue's mailbox back to its push members, once it has some: each message is opened again in
 * the queue's stream, and only then taken out of the mailbox. How many it was, at most about `limit`.
 */
export async function recallQueue(env: Cloudflare.Env, tenantId: string, name: string, limit = MAX_RECALLED): Promise<number> {
  const queue = await findQueue(env.DB, tenantId, name);
  if (queue === null) return 0;
  const box = boxOfQueue({ tenantId, name, maxReceives: queue.maxReceives, retentionSeconds: queue.retentionSeconds });
  const mailbox = openMailbox(env, isolateOf(env).config);
  const stream = streamName({ tenantId, kind: "queues", name });
  let recalled = 0;
  while (recalled < limit) {
    const received = await mailbox.receive(box, { max: MAX_PER_CALL, waitSeconds: 0, visibilitySeconds: VISIBILITY_SECONDS });
    if (!received.ok) {
      log("warn", "queue.recall-failed", { queue: name, code: received.code, detail: received.detail });
      return recalled;
    }
    if (received.messages.length === 0) return recalled;
    await streamStub(env.STREAMS, stream).reopen(stream, received.messages.map(toRef));
    await mailbox.ack(box, received.messages.map(({ handle }) => handle));
    recalled += received.messages.length;
  }
  return recalled;
}

function toRef({ offset }: ReceivedMessage): { offset: number; endpointId: string } {
  return { offset, endpointId: MEMBER_TARGET };
}
