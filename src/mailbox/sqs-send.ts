import { SendMessageBatchCommand, type SendMessageBatchRequestEntry } from "@aws-sdk/client-sqs";
import { sha256Hex } from "../crypto/digest.ts";
import { encodeEnvelope } from "./envelope.ts";
import type { BoxMessage, MailboxFault } from "./mailbox.ts";
import type { SqsAnswer, SqsCaller } from "./sqs-client.ts";

type Kept = { readonly ok: true } | MailboxFault;

const MAX_BATCH_ENTRIES = 10;
const MAX_BATCH_BYTES = 1024 * 1024;
const DEFAULT_GROUP = "default";
/** What SQS takes as a group or a deduplication id. */
const FIFO_ID = /^[!-~]{1,128}$/;

/** One entry, its size counted as SQS counts it. */
export type Entry = { readonly entry: SendMessageBatchRequestEntry; readonly bytes: number };

/** The entry of each message; ids are positions in the list. */
export async function entriesOf(messages: readonly BoxMessage[], ordered: boolean): Promise<Entry[]> {
  return Promise.all(
    messages.map(async (message, index): Promise<Entry> => {
      const { text, bytes } = encodeEnvelope(message);
      const fifo = ordered ? await fifoIds(message) : {};
      return { entry: { Id: String(index), MessageBody: text, ...fifo }, bytes };
    }),
  );
}

/** Cut into calls that SQS takes: at most 10 entries and 1 MiB each, in order. */
export function batchesOf(entries: readonly Entry[]): Entry[][] {
  const batches: Entry[][] = [];
  let current: Entry[] = [];
  let currentBytes = 0;
  for (const entry of entries) {
    if (current.length === MAX_BATCH_ENTRIES || (current.length > 0 && currentBytes + entry.bytes > MAX_BATCH_BYTES)) {
      batches.push(current);
      current = [];
      currentBytes = 0;
    }
    current.push(entry);
    currentBytes += entry.bytes;
  }
  if (current.length > 0) batches.push(current);
  return batches;
}

/** One call: per entry whether it is kept, or the failure of all of them. */
export async function sendBatch(sqs: SqsCaller, url: string, batch: readonly Entry[]): Promise<SqsAnswer<readonly Kept[]>> {
  const Entries = batch.map(({ entry }) => entry);
  const sent = await sqs.call("SendMessageBatch", (client, options) =>
    client.send(new SendMessageBatchCommand({ QueueUrl: url, Entries }), options),
  );
  if (!sent.ok) return sent;
  const kept = new Set(sent.output.Successful?.map(({ Id }) => Id));
  const failed = new Map(sent.output.Failed?.map((entry) => [entry.Id, entry]));
  const output = Entries.map(({ Id }): Kept => {
    if (kept.has(Id)) return { ok: true };
    const { Code = "no answer", SenderFault = false } = failed.get(Id) ?? {};
    return SenderFault
      ? { ok: false, code: "refused", detail: `Amazon SQS refused the message (${Code}).` }
      : { ok: false, code: "unreachable", detail: `Amazon SQS did not keep the message (${Code}): try again.` };
  });
  return { ok: true, output };
}

/** Sends of the same message within 5 minutes are one to a FIFO queue, so a retry of an unknown outcome adds nothing. */
async function fifoIds(message: BoxMessage): Promise<Pick<SendMessageBatchRequestEntry, "MessageGroupId" | "MessageDeduplicationId">> {
  return {
    MessageGroupId: await fifoId(message.groupKey ?? DEFAULT_GROUP),
    MessageDeduplicationId: await fifoId([message.stream, message.offset, message.id, message.reopenedAtMs ?? 0].join(" ")),
  };
}

async function fifoId(text: string): Promise<string> {
  return FIFO_ID.test(text) ? text : sha256Hex(text);
}
