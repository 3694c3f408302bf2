import type { Claim, Work } from "../streams/contract.ts";
import type { StoredMessage } from "../messages/message.ts";
import { attemptDelivery, type AttemptReport, type AttemptWorld } from "./attempt.ts";
import type { AttemptSlots, Slot, SlotRefusal } from "./attempt-slots.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import type { DeliveryResult, Verdict } from "./outcome.ts";
import { verdictOf } from "./verdict.ts";

/** One message to one endpoint, to be attempted now. */
type Task = { readonly message: StoredMessage; readonly claim: Claim };

export type WorkContext = {
  readonly topic: string;
  /** Those that exist; an id that is missing was deleted. */
  readonly endpoints: ReadonlyMap<string, DeliveryEndpoint>;
  readonly slots: AttemptSlots;
  readonly world: AttemptWorld;
  /** Told of every result as soon as there is one. */
  readonly onResult: (result: DeliveryResult) => void;
  /** Told of every request that was made. */
  readonly onReport: (endpoint: DeliveryEndpoint, report: AttemptReport) => void;
};

/** An attempt that turns slow makes room without ending, so room is looked for again. */
const RECHECK_ROOM_MS = 100;
const NO_ROOM_DELAY_MS = 1_000;
const ENDPOINT_BUSY_DELAY_MS = 4_000;

/**
 * Attempts every claim of the given work, in parallel as far as there is room, and reports each result when it is
 * there. Room that this call itself takes up is waited for; room that others hold is not, what finds none is
 * deferred without counting as an attempt. Resolves when all are reported.
 */
export async function attemptWork(work: readonly Work[], context: WorkContext): Promise<void> {
  const running = new Set<Promise<void>>();
  for (const task of byTurns(work)) {
    const endpoint = context.endpoints.get(task.claim.endpointId);
    const settled = withoutRequest(endpoint);
    if (endpoint === undefined || settled !== null) {
      context.onResult({ ...refOf(task), verdict: settled ?? DELETED });
      continue;
    }
    const slot = await acquire(endpoint, running, context);
    if (typeof slot === "string") {
      context.onResult({ ...refOf(task), verdict: deferred(slot, context.world) });
      continue;
    }
    const attempt = attemptTask(task, endpoint, context).finally(() => {
      slot.release();
      running.delete(attempt);
    });
    running.add(attempt);
  }
  await Promise.all(running);
}

const DELETED: Verdict = { status: "cancelled", reason: "The endpoint was deleted." };

/** What needs no request: a deleted endpoint's deliveries end, a paused or disabled one's wait. */
function withoutRequest(endpoint: DeliveryEndpoint | undefined): Verdict | null {
  if (endpoint === undefined) return DELETED;
  if (endpoint.status !== "active") return { status: "held", reason: endpoint.status };
  return null;
}

async function acquire(
  endpoint: DeliveryEndpoint,
  running: ReadonlySet<Promise<void>>,
  context: WorkContext,
): Promise<Slot | SlotRefusal> {
  for (;;) {
    const slot = context.slots.tryAcquire(endpoint.id, context.world.now());
    if (slot !== "no-room" || running.size === 0) return slot;
    await Promise.race([...running, pause(RECHECK_ROOM_MS)]);
  }
}

async function attemptTask(task: Task, endpoint: DeliveryEndpoint, context: WorkContext): Promise<void> {
  const { topic, world } = context;
  const { attemptNumber } = task.claim;
  const report = await attemptDelivery(endpoint, task.message, topic, attemptNumber, world);
  context.onReport(endpoint, report);
  const verdict = verdictOf(endpoint, report, attemptNumber, world.now(), world.random());
  context.onResult({ ...refOf(task), verdict, attempt: report.record });
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function deferred(refusal: SlotRefusal, world: AttemptWorld): Verdict {
  const delayMs = refusal === "no-room" ? NO_ROOM_DELAY_MS : ENDPOINT_BUSY_DELAY_MS;
  return { status: "open", nextAttemptAtMs: Math.round(world.now() + delayMs * (0.5 + world.random())), counted: false };
}

function refOf(task: Task): { offset: number; endpointId: string } {
  return { offset: task.message.offset, endpointId: task.claim.endpointId };
}

/** Takes the endpoints in turns, so that one with many messages does not stand before one with few. */
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
    for (const [endpointId, queue] of queues) {
      const task = queue[round];
      if (task === undefined) queues.delete(endpointId);
      else yield task;
    }
  }
}
