import { isolateOf } from "../isolate.ts";
import { log } from "../log.ts";
import { boxOfQueue } from "../mailbox/box-of.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { insertOperatorEvents } from "../storage/operator-events.ts";
import { listQueuesInTurns, type QueueBox } from "../storage/queues.ts";
import { streamName } from "../streams/ref.ts";
import { streamStub } from "../streams/stub.ts";
import { type OperatorEvent, storedEvent } from "./event.ts";

const QUEUES_PER_TURN = 50;
/** While a backlog lasts it is told this often. */
const TOLD_EVERY_MS = 60 * 60_000;

/** What waits in a queue, its mailbox and its stream together. */
export type QueueBacklog = { readonly depth: number; readonly oldestAgeSeconds: number | null };

/** From when on what waits is a backlog: more than that many, or one older than that. */
export type BacklogLimits = { readonly messages: number; readonly seconds: number };

/**
 * Looks at some queues, others at the next turn, and stores an event for each that has a backlog; how many those are.
 * A mailbox that does not answer is left to the next turn.
 */
export async function watchQueueBacklogs(env: Cloudflare.Env, turn: number, nowMs: number): Promise<number> {
  const { config } = isolateOf(env);
  const mailbox = openMailbox(env, config);
  const events: OperatorEvent[] = [];
  for (const queue of await listQueuesInTurns(env.DB, { limit: QUEUES_PER_TURN, turn })) {
    const stream = streamName({ tenantId: queue.tenantId, kind: "queues", name: queue.name });
    const [box, inStream] = await Promise.all([mailbox.depth(boxOfQueue(queue)), streamStub(env.STREAMS, stream).backlog(stream)]);
    if (!box.ok) {
      log("warn", "queue.backlog-unknown", { queue: queue.name, code: box.code, detail: box.detail });
      continue;
    }
    const ageSeconds = inStream.oldestTimeMs === null ? null : Math.floor((nowMs - inStream.oldestTimeMs) / 1000);
    const ages = [box.oldestAgeSeconds, ageSeconds].filter((age) => age !== null);
    const backlog = { depth: box.visible + box.inFlight + inStream.open, oldestAgeSeconds: ages.length === 0 ? null : Math.max(...ages) };
    if (isBacklog(backlog, config.backlog)) events.push(backlogEvent(queue, backlog, nowMs));
  }
  if (events.length > 0) await insertOperatorEvents(env.DB, await Promise.all(events.map(storedEvent))).run();
  return events.length;
}

export function isBacklog({ depth, oldestAgeSeconds }: QueueBacklog, { messages, seconds }: BacklogLimits): boolean {
  return depth > messages || (oldestAgeSeconds ?? 0) > seconds;
}

function backlogEvent({ tenantId, name }: QueueBox, { depth, oldestAgeSeconds }: QueueBacklog, nowMs: number): OperatorEvent {
  return {
    tenantId,
    topic: "postern.queue.backlog",
    timeMs: nowMs,
    key: `${name} ${Math.floor(nowMs / TOLD_EVERY_MS)}`,
    attributes: { queue: name },
    data: { queue: name, depth, oldestAgeSeconds },
  };
}
