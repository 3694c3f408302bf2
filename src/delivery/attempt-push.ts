import { boxOfEndpoint } from "../mailbox/box-of.ts";
import type { Mailbox } from "../mailbox/mailbox.ts";
import type { StoredMessage } from "../messages/message.ts";
import type { Claim } from "../streams/contract.ts";
import type { StreamRef } from "../streams/ref.ts";
import { attemptDelivery, type AttemptReport, type AttemptWorld, type QueryAnswer } from "./attempt.ts";
import type { Deadlines } from "./deadlines.ts";
import type { AttemptSlots } from "./attempt-slots.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { boxMessage } from "./hand-on.ts";
import type { DeliveryResult, Verdict } from "./outcome.ts";
import { shownTopic } from "./shown-topic.ts";
import { verdictOf } from "./verdict.ts";

/** A push to be made. `others`: members of the same queue that can be tried next. */
export type PushTask = {
  readonly message: StoredMessage;
  readonly claim: Claim;
  readonly endpoint: DeliveryEndpoint;
  readonly others: number;
  /** Gives the permit back that was had for it, where its endpoint wants only so many at once. Never throws. */
  readonly leave?: () => Promise<void>;
};

export type PushContext = {
  readonly stream: StreamRef;
  readonly slots: AttemptSlots;
  readonly world: AttemptWorld;
  readonly deadlines: Deadlines;
  readonly mailbox: Mailbox;
  readonly onResult: (result: DeliveryResult) => void;
  /** Told of every request that was made. */
  readonly onReport: (endpoint: DeliveryEndpoint, report: AttemptReport) => void;
  /** Takes a query's answer to its caller; one that comes too late is dropped there. */
  readonly answerQuery: (messageId: string, answer: QueryAnswer) => Promise<void>;
};

/** A mailbox that did not take what had to fall back to it is asked again after this. */
const FALLBACK_RETRY_MS = 15_000;

/** Makes one push and reports what became of the delivery. Never throws. */
export async function attemptPush(task: PushTask, context: PushContext): Promise<void> {
  const { message, claim, endpoint } = task;
  const { world, stream } = context;
  const report = await attemptDelivery(endpoint, message, shownTopic(message, stream), claim.attemptNumber, world, context.deadlines);
  context.onReport(endpoint, report);
  if (report.answer !== null) await context.answerQuery(message.id, report.answer);
  const verdict = await fallBack(task, context, verdictOf(task, report, world.now(), world.random()));
  context.onResult({
    offset: message.offset,
    endpointId: claim.endpointId,
    verdict,
    attempt: report.record,
    ...(claim.endpointId === endpoint.id ? {} : { by: endpoint.id }),
  });
}

/** A delivery that pushing can not make any more goes into the endpoint's mailbox, where it has one. */
async function fallBack(task: PushTask, context: PushContext, verdict: Verdict): Promise<Verdict> {
  const { endpoint } = task;
  const exhausted = verdict.status === "dead" || (verdict.status === "held" && verdict.reason === "disabled");
  // A message of a queue is the queue's: it does not become one member's alone.
  if (!exhausted || endpoint.fallback !== "pull" || context.stream.kind === "queues") return verdict;
  const sent = await context.mailbox.send(boxOfEndpoint(endpoint), [boxMessage(task, context.stream, endpoint.orderingKey)]);
  if (sent[0]?.ok === true) return { status: "delivered" };
  const { world } = context;
  return { status: "open", nextAttemptAtMs: world.now() + FALLBACK_RETRY_MS, counted: false };
}

