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
import { type DuePush, PushCrew } from "./push-crew.ts";
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
  /** Told, maybe again and again, that no push waits for this isolate. */
  readonly onRoom: () => void;
};

/**
 * Attempts every claim of the given work, in parallel as far as there is room, and reports each result when it is
 * there: pushes one by one, what goes into a mailbox or to a queue in batches. What finds no room is deferred without
 * counting as an attempt. Resolves when all are reported.
 */
export async function attemptWork(work: readonly Work[], context: WorkContext): Promise<void> {
  const handedOn: HandedOn[] = [];
  const pushes: PushTask[] = [];
  for (const task of tasksOf(work)) {
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
  const due: DuePush[] = [];
  const paced = await pacePushes(pushes, context.returning, context.reserveTurns, context.world);
  for (const { task, turn } of await capConcurrency(paced, context.permits, context.world)) {
    if ("verdict" in turn) context.onResult({ ...refOf(task), verdict: turn.verdict });
    else due.push({ task, delayMs: turn.delayMs });
  }
  await new PushCrew(context).push(due);
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

function tasksOf(work: readonly Work[]): Task[] {
  return work.flatMap(({ message, claims }) => claims.map((claim) => ({ message, claim })));
}
