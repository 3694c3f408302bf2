import {
  DeleteMessageBatchCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import type { SqsAnswer, SqsCaller } from "./sqs-client.ts";

/** The dead-letter queue with what of its attributes is needed here, and the queue it belongs to. */
export type DeadLetters = { readonly url: string; readonly arn: string; readonly count: number; readonly mainUrl: string };

/** What answers a caller that asks for an action which the service does not have. */
const NO_SUCH_ACTION = new Set(["InvalidAction", "UnknownOperationException", "UnsupportedOperation", "UnsupportedOperationException", "NotImplemented"]);
const BATCH = 10;
/** Enough to send and delete a batch. */
const MOVING_SECONDS = 60;
/** A request moves this many at most itself; where SQS moves them, it moves all. */
const MAX_MOVED = 1_000;

/** Moves dead letters back; how many, which is an estimate where SQS moves them in the background. */
export async function moveBack(sqs: SqsCaller, dead: DeadLetters): Promise<SqsAnswer<number>> {
  if (dead.count === 0) return { ok: true, output: 0 };
  const started = await sqs.call("StartMessageMoveTask", (client, options) =>
    client.send(new StartMessageMoveTaskCommand({ SourceArn: dead.arn }), options),
  );
  if (started.ok) return { ok: true, output: dead.count };
  return NO_SUCH_ACTION.has(started.name) ? moveOneByOne(sqs, dead) : started;
}

async function moveOneByOne(sqs: SqsCaller, dead: DeadLetters): Promise<SqsAnswer<number>> {
  let moved = 0;
  while (moved < MAX_MOVED) {
    const received = await sqs.call("ReceiveMessage", (client, options) =>
      client.send(
        new ReceiveMessageCommand({
          QueueUrl: dead.url,
          MaxNumberOfMessages: BATCH,
          VisibilityTimeout: MOVING_SECONDS,
          MessageSystemAttributeNames: ["MessageGroupId"],
        }),
        options,
      ),
    );
    if (!received.ok) return received;
    const messages = received.output.Messages ?? [];
    if (messages.length === 0) break;
    const batch = await moveBatch(sqs, dead, messages);
    if (!batch.ok) return batch;
    moved += batch.output;
    if (batch.output < messages.length) break;
  }
  return { ok: true, output: moved };
}

/** Deletes there only what is kept here: in between a message is in both, never in neither. */
async function moveBatch(sqs: SqsCaller, dead: DeadLetters, messages: readonly Message[]): Promise<SqsAnswer<number>> {
  const moveId = crypto.randomUUID();
  const Entries = messages.map(({ Body, Attributes }, index) => {
    const group = Attributes?.MessageGroupId;
    // A new id: the first one may still be remembered, and then the message would be taken for its own repetition.
    const fifo = group === undefined ? {} : { MessageGroupId: group, MessageDeduplicationId: `${moveId}-${index}` };
    return { Id: String(index), MessageBody: Body ?? "", ...fifo };
  });
  const sent = await sqs.call("SendMessageBatch", (client, options) =>
    client.send(new SendMessageBatchCommand({ QueueUrl: dead.mainUrl, Entries }), options),
  );
  if (!sent.ok) return sent;
  const kept = (sent.output.Successful ?? []).map(({ Id }) => ({ Id, ReceiptHandle: messages[Number(Id)]?.ReceiptHandle }));
  if (kept.length === 0) return { ok: true, output: 0 };
  const deleted = await sqs.call("DeleteMessageBatch", (client, options) =>
    client.send(new DeleteMessageBatchCommand({ QueueUrl: dead.url, Entries: kept }), options),
  );
  return deleted.ok ? { ok: true, output: kept.length } : deleted;
}
