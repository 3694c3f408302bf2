import type { BoxMessage, Mailbox } from "../mailbox/mailbox.ts";
import { describeError, log } from "../log.ts";
import type { StoredMessage } from "../messages/message.ts";
import type { Claim, StreamApi } from "../streams/contract.ts";
import { type StreamRef, streamName } from "../streams/ref.ts";
import type { AttemptWorld } from "./attempt.ts";
import { type Destination, MEMBER_TARGET } from "./destination.ts";
import type { DeliveryResult, Verdict } from "./outcome.ts";
import { shownTopic } from "./shown-topic.ts";

type Task = { readonly message: StoredMessage; readonly claim: Claim };

/** What is not pushed: it is put into a mailbox, or becomes a message of a queue. */
export type HandedOn = { readonly task: Task; readonly destination: Extract<Destination, { kind: "mailbox" | "queue" }> };

type HandOnContext = {
  readonly stream: StreamRef;
  readonly mailbox: Mailbox;
  readonly world: AttemptWorld;
  readonly streamOf: (name: string) => StreamApi;
  readonly onResult: (result: DeliveryResult) => void;
};

/** What refused or did not answer is asked again after this, without end: the stream keeps the message. */
const RETRY_MS = 8_000;
/** A mailbox takes ten at a time; this bounds what one call holds in memory. */
const MAX_BATCH = 100;

/** Hands messages on in batches and reports each. Never throws. */
export async function handOn(handedOn: readonly HandedOn[], context: HandOnContext): Promise<void> {
  const groups = Map.groupBy(handedOn, ({ destination }) => keyOf(destination));
  await Promise.all(
    [...groups.values()].map(async (group) => {
      for (let start = 0; start < group.length; start += MAX_BATCH) {
        const part = group.slice(start, start + MAX_BATCH);
        const tasks = part.map(({ task }) => task);
        const taken = await handOver(part[0]?.destination, tasks, context);
        tasks.forEach((task, index) => context.onResult(resultOf(task, taken[index] === true, context)));
      }
    }),
  );
}

/** Whether each was taken. */
async function handOver(
  destination: HandedOn["destination"] | undefined,
  tasks: readonly Task[],
  context: HandOnContext,
): Promise<boolean[]> {
  if (destination === undefined) return [];
  try {
    if (destination.kind === "queue") return await toQueue(destination.stream, tasks, context);
    return await toMailbox(destination, tasks, context);
  } catch (error) {
    log("warn", "hand-on.failed", { stream: streamName(context.stream), to: keyOf(destination), error: describeError(error) });
    return [];
  }
}

async function toMailbox(
  { box, orderingKey }: Extract<Destination, { kind: "mailbox" }>,
  tasks: readonly Task[],
  { mailbox, stream }: HandOnContext,
): Promise<boolean[]> {
  const sent = await mailbox.send(box, tasks.map((task) => boxMessage(task, stream, orderingKey)));
  const fault = sent.find((one) => !one.ok);
  if (fault?.ok === false) log("warn", "mailbox.refused", { box: `${box.kind}/${box.id}`, code: fault.code, detail: fault.detail });
  return sent.map(({ ok }) => ok);
}

/** The offset in this stream de-duplicates, so that a hand-on that is repeated adds nothing. */
async function toQueue(queueStream: string, tasks: readonly Task[], { stream, streamOf }: HandOnContext): Promise<boolean[]> {
  const from = streamName(stream);
  const appends = tasks.map(({ message: { offset, timeMs: _timeMs, ...message } }) => ({
    message: { ...message, deduplicate: false, publishedOn: stream.name },
    endpointIds: [MEMBER_TARGET],
    deduplicationKey: `${from} ${offset}`,
  }));
  const result = await streamOf(queueStream).append(queueStream, appends);
  return tasks.map(() => result.ok);
}

function resultOf(task: Task, taken: boolean, { world }: HandOnContext): DeliveryResult {
  const nextAttemptAtMs = Math.round(world.now() + RETRY_MS * (0.5 + world.random()));
  const verdict: Verdict = taken ? { status: "delivered" } : { status: "open", nextAttemptAtMs, counted: false };
  return { offset: task.message.offset, endpointId: task.claim.endpointId, verdict };
}

/** A message as mailboxes take it; of an ordered one, those with the same value of its ordering key are a group. */
export function boxMessage({ message, claim }: Task, stream: StreamRef, orderingKey: string | undefined): BoxMessage {
  const groupKey = orderingKey === undefined ? undefined : message.attributes[orderingKey];
  const { id, offset, timeMs, contentType, attributes, event, body, answerByMs } = message;
  return {
    id,
    topic: shownTopic(message, stream),
    stream: streamName(stream),
    offset,
    timeMs,
    contentType,
    attributes,
    body,
    ...(event === undefined ? {} : { event }),
    ...(answerByMs === undefined ? {} : { answerByMs }),
    ...(groupKey === undefined ? {} : { groupKey }),
    ...(claim.reopenedAtMs === undefined ? {} : { reopenedAtMs: claim.reopenedAtMs }),
  };
}

function keyOf(destination: HandedOn["destination"]): string {
  return destination.kind === "queue" ? destination.stream : `${destination.box.tenantId}/${destination.box.kind}/${destination.box.id}`;
}
