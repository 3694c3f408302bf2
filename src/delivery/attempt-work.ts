import type { Mailbox } from "../mailbox/mailbox.ts";
import type { StoredMessage } from "../messages/message.ts";
import type { Claim, StreamApi, Work } from "../streams/contract.ts";
import type { StreamRef } from "../streams/ref.ts";
import { attemptPush, type PushContext, type PushTask } from "./attempt-push.ts";
import type { SlotRefusal, Slot } from "./attempt-slots.ts";
import type { Destination, DestinationOf } from "./destination.ts";
import { capConcurrency, type PermitGate, withPermit } from "./cap-concurrency.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import { handOn, type HandedOn } from "./hand-on.ts";
import type { DeliveryResult, Verdict } from "./outcome.ts";
import { pacePushes, type ReserveTurns } from "./pace-pushes.ts";

/** One message to one target, to be attempted now. */
export type Task = { readonly message: StoredMessage; readonly claim: Claim };

export type WorkContext = PushContext & {
  readonly stream: StreamRef;
  readonly destinationOf: DestinationOf;
  /** When the destinations were read. */
  readonly readAtMs: number;
  readonly mailbox: Mailbox;
  readonly streamOf: (name: string) => StreamApi;
  readonly reserveTurns: ReserveTurns;
  readonly permits: PermitGate;
  /** The work comes from the queue, not straight from its commit. */
  readonly returning: boolean;
  /** Told of every result as soon as there is one. */
  readonly onResult: (result: DeliveryResult) => void;
};

const NO_ROOM_DELAY_MS = 1_000;
/** How often room is looked for again: others' attempts end, and those that turn slow make room without ending. */
const RECHECK_ROOM_MS = 5;
/** How long room is looked for before a message goes to the queue; as long as an attempt takes to turn slow. */
const MAX_ROOM_WAIT_MS = 300;
const ENDPOINT_BUSY_DELAY_MS = 2_000;

/**
 * Attempts every claim of the given work, in parallel as far as there is room, and reports each result when it is
 * there: pushes one by one, what goes into a mailbox or to a queue in batches. Room is looked for a short while, and
 * for as long as this call itself takes some up; what finds none is deferred without counting as an attempt.
 * Resolves when all are reported.
 */
export async function attemptWork(work: readonly Work[], context: WorkContext): Promise<void> {
  const running = new Set<Promise<void>>();
  const handedOn: HandedOn[] = [];
  const pushes: PushTask[] = [];
  for (const task of byTurns(work)) {
    const destination = destinationNow(task, context);
    switch (destination.kind) {
      case "none":
        context.onResult({ ...refOf(task), verdict: destination.verdict });
        break;
      case "push":
        pushes.push({ ...task, endpoint: destination.endpoint, others: destination.others });
        break;
      default:
        handedOn.push({ task, destination });
    }
  }
  if (handedOn.length > 0) running.add(handOn(handedOn, context));
  const waiting: Promise<void>[] = [];
  const paced = await pacePushes(pushes, context.returning, context.reserveTurns, context.world);
  for (const { task, turn } of await capConcurrency(paced, context.permits, context.world)) {
    if ("verdict" in turn) context.onResult({ ...refOf(task), verdict: turn.verdict });
    else if (turn.delayMs > 0) waiting.push(pause(turn.delayMs).then(() => pushNow(task, running, context)));
    else await pushNow(task, running, context);
  }
  await Promise.all(waiting);
  await Promise.all(running);
}

async function pushNow(task: PushTask, running: Set<Promise<void>>, context: WorkContext): Promise<void> {
  const refused = await startPush(task, running, context);
  if (refused === null) return;
  await task.leave?.();
  context.onResult({ ...refOf(task), verdict: refused });
}

function destinationNow(task: Task, { destinationOf, world }: WorkContext): Destination {
  const { answerByMs } = task.message;
  if (answerByMs !== undefined && world.now() >= answerByMs) {
    return { kind: "none", verdict: { status: "cancelled", reason: "Its caller's time was over." } };
  }
  return destinationOf(task.claim);
}

/** Starts an attempt, or says why it has to wait. */
async function startPush(task: PushTask, running: Set<Promise<void>>, context: WorkContext): Promise<Verdict | null> {
  const slot = await acquire(task.endpoint.id, running, context);
  if (typeof slot === "string") return deferred(slot, context);
  // Room took long to come: the endpoint may have been deleted meanwhile (I5).
  if (context.world.now() - context.readAtMs >= CACHE_MAX_AGE_MS) {
    slot.release();
    return deferred("no-room", context);
  }
  const attempt = withPermit(task, context.onResult, (onResult) => attemptPush(task, { ...context, onResult })).finally(() => {
    slot.release();
    running.delete(attempt);
  });
  running.add(attempt);
  return null;
}

async function acquire(
  endpointId: string,
  running: ReadonlySet<Promise<void>>,
  context: WorkContext,
): Promise<Slot | SlotRefusal> {
  const { slots, world } = context;
  for (const startedAtMs = world.now(); ; ) {
    const slot = slots.tryAcquire(endpointId, world.now());
    if (slot !== "no-room") return slot;
    // Never another request's promise, only time and attempts of our own.
    if (world.now() - startedAtMs > MAX_ROOM_WAIT_MS && running.size === 0) return slot;
    await Promise.race([...running, pause(RECHECK_ROOM_MS)]);
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function deferred(refusal: SlotRefusal, { world }: WorkContext): Verdict {
  const delayMs = refusal === "no-room" ? NO_ROOM_DELAY_MS : ENDPOINT_BUSY_DELAY_MS;
  const nextAttemptAtMs = Math.round(world.now() + delayMs * (0.5 + world.random()));
  return { status: "open", nextAttemptAtMs, counted: false, ...(refusal === "endpoint-busy" ? { busy: true } : {}) };
}

/** The delivery a task is an attempt of. */
export function refOf(task: Task): { offset: number; endpointId: string } {
  return { offset: task.message.offset, endpointId: task.claim.endpointId };
}

/** Takes the targets in turns, so that one with many messages does not stand before one with few. */
function* byTurns(work: readonly Work[]): Generator<Task> {
  const queues = new Map<string, Task[]>();
  for (const { message, claims } of work) {
    for (const claim of claims) {
      const queue = queues.get(claim.endpointId);
      if (queue === undefined) queues.set(claim.endpointId, [{ message, claim }]);
      else queue.push({ message, claim });
    }
  }
  for (let round = 0; queues.size > 0; round++) {
    for (const [target, queue] of queues) {
      const task = queue[round];
      if (task === undefined) queues.delete(target);
      else yield task;
    }
  }
}
