import { MEMBER_TARGET } from "../delivery/destination.ts";
import { reopenDeliveries, type StreamLookup } from "../delivery/reopen.ts";
import { describeError, log } from "../log.ts";
import { boxOfQueue } from "../mailbox/box-of.ts";
import { discardBox } from "../mailbox/discard-box.ts";
import type { Mailbox } from "../mailbox/mailbox.ts";
import { countDead, listDeadOf, type Queue, queueExists, type StreamTarget } from "../storage/queues.ts";
import type { StreamApi } from "../streams/contract.ts";
import { streamName } from "../streams/ref.ts";
import { accept, type Outcome, refuse } from "./refusal.ts";
import { requireQueue } from "./queues.ts";
import type { RegistryWorld } from "./world.ts";

/** Dead deliveries that are counted, or opened again by one call, at most. */
export const MAX_DEAD = 10_000;

/** What the contents of a queue need: they are in its stream, and in its mailbox while there is no one to push to. */
export type QueueWorld = Pick<RegistryWorld, "db" | "tenantId" | "audit"> & {
  readonly mailbox: Mailbox;
  readonly streamOf: StreamLookup;
};

export type QueueContents = {
  /** Messages that nobody has dealt with yet, those in flight included. */
  readonly depth: number;
  readonly oldestAgeSeconds: number | null;
  /** Pulled, and neither acknowledged nor visible again. */
  readonly inFlight: number;
  /** Dead letters: received too often, or refused by every member; of the latter at most {@link MAX_DEAD}. */
  readonly dead: number;
};

export async function queueContents(
  world: Omit<QueueWorld, "audit">,
  queue: Queue,
  nowMs: number,
): Promise<Outcome<QueueContents>> {
  const of = targetOf(queue);
  const [box, backlog, dead] = await Promise.all([
    world.mailbox.depth(boxOfQueue(queue)),
    world.streamOf(of.stream).backlog(of.stream),
    countDead(world.db, world.tenantId, of, MAX_DEAD),
  ]);
  if (!box.ok) return refuse({ code: "mailbox-unavailable", detail: box.detail });
  const depth = box.visible + box.inFlight + backlog.open;
  const isUntold = box.oldestAgeSeconds === null && box.visible + box.inFlight > 0;
  const untoldMs = isUntold ? await leastOldest(world.streamOf(of.stream), of.stream, depth) : null;
  const waited = [untoldMs, backlog.oldestTimeMs].filter((timeMs) => timeMs !== null);
  const waitedSeconds = waited.map((timeMs) => Math.max(0, Math.floor((nowMs - timeMs) / 1000)));
  const ages = box.oldestAgeSeconds === null ? waitedSeconds : [box.oldestAgeSeconds, ...waitedSeconds];
  return accept({
    depth,
    oldestAgeSeconds: ages.length === 0 ? null : Math.max(...ages),
    inFlight: box.inFlight,
    dead: box.dead + dead,
  });
}

/**
 * When the oldest of `count` waiting messages was sent at the latest, ms, where the mailbox does not say: they are
 * different messages of the stream, so one of them is no newer than the `count`-th from its end. Exact while they are
 * dealt with in order.
 */
async function leastOldest(api: StreamApi, stream: string, count: number): Promise<number | null> {
  const { earliestOffset, nextOffset } = await api.describe(stream);
  const from = Math.max(earliestOffset, nextOffset - count);
  const read = await api.readLog(stream, { from, maxBytes: 1, waitMs: 0 });
  return (read.ok ? read.segments[0]?.timeMs : undefined) ?? null;
}

/** Drops every message of the queue that is not a dead letter. After a fault of the mailbox it is to be called again. */
export async function purgeQueue(world: QueueWorld, name: string): Promise<Outcome<null>> {
  const found = await requireQueue(world, name);
  if (!found.ok) return found;
  const { stream } = targetOf(found.value);
  // the stream first, for what it holds may be on its way into the mailbox
  const cancelled = await world.streamOf(stream).purge(stream);
  const purged = await world.mailbox.purge(boxOfQueue(found.value));
  const mailbox = purged.ok ? "purged" : purged.code;
  await world.audit({ action: "queue.purge", target: name, after: { cancelled, mailbox } }).run();
  return purged.ok ? accept(null) : refuse({ code: "mailbox-unavailable", detail: purged.detail });
}

/** Puts the queue's dead letters back into it; `more` when there are more of the stream's than one call takes. */
export async function redriveQueue(
  world: QueueWorld,
  name: string,
): Promise<Outcome<{ readonly count: number; readonly more: boolean }>> {
  const found = await requireQueue(world, name);
  if (!found.ok) return found;
  const redriven = await world.mailbox.redrive(boxOfQueue(found.value));
  if (!redriven.ok) return refuse({ code: "mailbox-unavailable", detail: redriven.detail });
  const dead = await listDeadOf(world.db, world.tenantId, targetOf(found.value), MAX_DEAD + 1);
  const reopened = await reopenDeliveries(world.streamOf, dead.slice(0, MAX_DEAD));
  const count = redriven.count + reopened;
  await world.audit({ action: "queue.redrive", target: name, after: { count } }).run();
  // a caller who repeats until `more` is false must get to an end, also when none of these can be opened
  return accept({ count, more: dead.length > MAX_DEAD && reopened > 0 });
}

/**
 * Drops everything of a queue that was deleted, unless someone made it anew meanwhile: then it is theirs. Never throws:
 * what stays in its stream is cancelled when it is to be attempted next.
 */
export async function discardContents(world: Omit<QueueWorld, "audit">, queue: Queue): Promise<void> {
  const { stream } = targetOf(queue);
  try {
    if (await queueExists(world.db, world.tenantId, queue.name)) return;
    await world.streamOf(stream).purge(stream);
  } catch (error) {
    log("warn", "queue.not-purged", { stream, error: describeError(error) });
  }
  await discardBox(() => world.mailbox, boxOfQueue(queue));
}

function targetOf({ tenantId, name }: Queue): StreamTarget {
  return { stream: streamName({ tenantId, kind: "queues", name }), endpointId: MEMBER_TARGET };
}
