import type { Mailbox } from "../mailbox/mailbox.ts";
import type { StoredMessage } from "../messages/message.ts";
import type { Claim, StreamApi, Work } from "../streams/contract.ts";
import type { StreamRef } from "../streams/ref.ts";
import type { PushContext, PushTask } from "./attempt-push.ts";
import type { Destination, DestinationOf } from "./destination.ts";
import { capConcurrency, type PermitGate } from "./cap-concurrency.ts";
import { handOn, type HandedOn } from "./hand-on.ts";
import type { DeliveryResult } from "./outcome.ts";
import { pacePushes, type ReserveTurns } from "./pace-pushes.ts";
import { pause, PushCrew } from "./push-crew.ts";
import type { SendSpacing } from "./send-spacing.ts";

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
  readonly spacing: SendSpacing;
  /** The work comes from the queue, not straight from its commit. */
  readonly returning: boolean;
  /** Told of every result as soon as there is one. */
  readonly onResult: (result: DeliveryResult) => void;
};

/**
 * Attempts every claim of the given work, in parallel as far as there is room, and reports each result when it is
 * there: pushes one by one, what goes into a mailbox or to a queue in batches. What finds no room is deferred without
 * counting as an attempt. Resolves when all are reported.
 */
export async function attemptWork(work: readonly Work[], context: WorkContext): Promise<void> {
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
  const handing = handedOn.length > 0 ? handOn(handedOn, context) : undefined;
  await pushAll(pushes, context);
  await handing;
}

async function pushAll(pushes: readonly PushTask[], context: WorkContext): Promise<void> {
  const crew = new PushCrew(context);
  const waiting: Promise<void>[] = [];
  const paced = await pacePushes(pushes, context.returning, context.reserveTurns, context.world);
  for (const { task, turn } of await capConcurrency(paced, context.permits, context.world)) {
    if ("verdict" in turn) context.onResult({ ...refOf(task), verdict: turn.verdict });
    else if (turn.delayMs > 0) waiting.push(pause(turn.delayMs).then(() => crew.start(task)));
    else await crew.start(task);
  }
  await Promise.all(waiting);
  await crew.done();
}

function destinationNow(task: Task, { destinationOf, world }: WorkContext): Destination {
  const { answerByMs } = task.message;
  if (answerByMs !== undefined && world.now() >= answerByMs) {
    return { kind: "none", verdict: { status: "cancelled", reason: "Its caller's time was over." } };
  }
  return destinationOf(task.claim);
}


/** The delivery a task is an attempt of. */
export function refOf(task: Task): { offset: number; endpointId: string } {
  return { offset: task.message.offset, endpointId: task.claim.endpointId };
}

/** Takes the targets in turns, so that one with many messages does not stand before one with few. */
function byTurns(work: readonly Work[]): Task[] {
  const queues = new Map<string, Task[]>();
  for (const { message, claims } of work) {
    for (const claim of claims) {
      const queue = queues.get(claim.endpointId);
      if (queue === undefined) queues.set(claim.endpointId, [{ message, claim }]);
      else queue.push({ message, claim });
    }
  }
  const [only] = queues.values();
  return queues.size === 1 && only !== undefined ? only : inTurns([...queues.values()]);
}

function inTurns(queues: readonly (readonly Task[])[]): Task[] {
  const tasks: Task[] = [];
  for (let round = 0, left = queues; left.length > 0; round++) {
    left = left.filter((queue) => round < queue.length);
    for (const queue of left) {
      const task = queue[round];
      if (task !== undefined) tasks.push(task);
    }
  }
  return tasks;
}
