import { untilCachesExpired } from "../delivery/freshness.ts";
import type { StreamLookup } from "../delivery/reopen.ts";
import { describeError, log } from "../log.ts";
import { boxOfEndpoint, boxOfQueue, ENDPOINT_MAX_RECEIVES, ENDPOINT_RETENTION_SECONDS } from "../mailbox/box-of.ts";
import type { BoxRef, Mailbox } from "../mailbox/mailbox.ts";
import { clearResponses, CLOCK_SKEW_MS, findCopy, findQueueTargets, listBoxOwners, type MessageRef, rememberExpunged } from "../storage/expunged.ts";
import { markExpunged } from "../storage/history-messages.ts";
import { findInLog } from "../streams/find-in-log.ts";
import { parseStreamName, streamName } from "../streams/ref.ts";

export type ExpungeWorld = {
  readonly db: D1Database;
  readonly tenantId: string;
  readonly streamOf: StreamLookup;
  readonly mailbox: Mailbox;
  readonly now: () => number;
};

/**
 * Removes the content of a message for good, wherever it went: from its stream, from the queues it was handed on to,
 * from mailboxes, and from what receivers answered; open deliveries are cancelled. Answers once nobody is given it any
 * more. Safe to repeat. Amazon SQS keeps its copy until it is received next, and then it is dropped.
 */
export async function expungeMessage(world: ExpungeWorld, message: MessageRef, audit: D1PreparedStatement): Promise<void> {
  const { db, tenantId } = world;
  await expungeIn(world, message, [audit]);
  for (const queue of await findQueueTargets(db, tenantId, message)) {
    const copy = await copyIn(world, message, streamName({ tenantId, kind: "queues", name: queue }));
    if (copy !== null) await expungeIn(world, copy, []);
  }
  await untilCachesExpired(world.now());
}

/** What an event has become in a queue. History may not have it: it is only just there, or was delivered at once. */
async function copyIn({ db, tenantId, streamOf }: ExpungeWorld, message: MessageRef, queueStream: string): Promise<MessageRef | null> {
  const api = streamOf(queueStream);
  await api.flushHistory(queueStream);
  const copy = await findCopy(db, tenantId, message, queueStream);
  return copy ?? findInLog(api, queueStream, message.id, message.timeMs - CLOCK_SKEW_MS);
}

/** The content of one message of one stream. */
async function expungeIn(world: ExpungeWorld, message: MessageRef, also: readonly D1PreparedStatement[]): Promise<void> {
  const { db, tenantId, streamOf, now } = world;
  const api = streamOf(message.stream);
  // what the stream no longer has is gone as well: false is no failure here
  await api.expunge(message.stream, message.offset);
  await db.batch([markExpunged(db, tenantId, message, now()), rememberExpunged(db, tenantId, message, now()), ...also]);
  await api.flushHistory(message.stream);
  await clearResponses(db, tenantId, message);
  for (const box of await boxesOf(world, message)) await expungeFrom(world.mailbox, box, message);
}

/** Mailboxes the message may be in now. */
async function boxesOf({ db, tenantId }: ExpungeWorld, message: MessageRef): Promise<BoxRef[]> {
  const { kind, name } = parseStreamName(message.stream);
  if (kind === "queues") {
    return [boxOfQueue({ tenantId, name, maxReceives: ENDPOINT_MAX_RECEIVES, retentionSeconds: ENDPOINT_RETENTION_SECONDS })];
  }
  const boxes: BoxRef[] = [];
  for (let after: string | undefined = ""; after !== undefined; ) {
    const owners = await listBoxOwners(db, tenantId, message, after);
    boxes.push(...owners.map((owner) => boxOfEndpoint({ ...owner, tenantId })));
    after = owners.at(-1)?.id;
  }
  return boxes;
}

/** A mailbox that can not do it now gives the message out no more all the same: it is known as expunged. */
async function expungeFrom(mailbox: Mailbox, box: BoxRef, { id, offset }: MessageRef): Promise<void> {
  try {
    const done = await mailbox.expunge(box, { id, offset });
    if (!done.ok) log("warn", "expunge.mailbox-fault", { box: `${box.kind}/${box.id}`, messageId: id, code: done.code });
  } catch (error) {
    log("warn", "expunge.mailbox-fault", { box: `${box.kind}/${box.id}`, messageId: id, error: describeError(error) });
  }
}
