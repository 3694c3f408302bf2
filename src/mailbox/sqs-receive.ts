import { type Message, ReceiveMessageCommand } from "@aws-sdk/client-sqs";
import { log } from "../log.ts";
import type { TakenMessage } from "./claim-check.ts";
import { parseEnvelope } from "./envelope.ts";
import type { BoxRef, ReceiveOptions } from "./mailbox.ts";
import type { SqsAnswer, SqsCaller } from "./sqs-client.ts";
import { formatHandle, newNonces } from "./sqs-handles.ts";

/** One call to SQS, which waits itself; what is in no envelope of ours is left where it is. */
export async function receiveBatch(
  sqs: SqsCaller,
  url: string,
  box: BoxRef,
  { max, visibilitySeconds, waitSeconds }: Omit<ReceiveOptions, "signal">,
): Promise<SqsAnswer<readonly TakenMessage[]>> {
  const command = new ReceiveMessageCommand({
    QueueUrl: url,
    MaxNumberOfMessages: max,
    VisibilityTimeout: visibilitySeconds,
    WaitTimeSeconds: Math.round(waitSeconds),
    MessageSystemAttributeNames: ["ApproximateReceiveCount"],
  });
  const received = await sqs.call("ReceiveMessage", (client, options) => client.send(command, options), waitSeconds);
  if (!received.ok) return received;
  const messages = received.output.Messages ?? [];
  const deadlineMs = deadline(Date.now(), visibilitySeconds);
  const nonces = newNonces(messages.length);
  const output = messages.flatMap((message, index): TakenMessage[] => {
    const taken = takenMessage(message, box, { deadlineMs, nonce: nonces[index] ?? "" });
    if (taken === null) log("warn", "mailbox.not-an-envelope", { box: `${box.tenantId}/${box.kind}/${box.id}`, sqsMessageId: message.MessageId });
    return taken === null ? [] : [taken];
  });
  return { ok: true, output };
}

/** Somewhat before the end, for SQS's clock started while the answer was under way: what is doubtful is asked. */
export function deadline(nowMs: number, visibilitySeconds: number): number {
  return nowMs + visibilitySeconds * 1000 - Math.min(1000, visibilitySeconds * 100);
}

function takenMessage(message: Message, box: BoxRef, held: { readonly deadlineMs: number; readonly nonce: string }): TakenMessage | null {
  const { Body, ReceiptHandle: receiptHandle, Attributes } = message;
  if (Body === undefined || receiptHandle === undefined) return null;
  const envelope = parseEnvelope(Body);
  // Others may be able to write to the queue: what they reference must not be another tenant's.
  if (envelope === null || !envelope.stream.startsWith(`${box.tenantId}/`)) return null;
  const receiveCount = Number(Attributes?.ApproximateReceiveCount ?? 1);
  return { ...envelope, receiveCount, handle: formatHandle({ ...held, receiptHandle }) };
}
