import { type BatchResultErrorEntry, ChangeMessageVisibilityBatchCommand, DeleteMessageBatchCommand } from "@aws-sdk/client-sqs";
import type { HandleResult } from "./mailbox.ts";
import type { SqsAnswer, SqsCaller } from "./sqs-client.ts";
import { type HandleMemory, parseHandle, type SqsHandle } from "./sqs-handles.ts";

export type Settling = { readonly sqs: SqsCaller; readonly url: string; readonly memory: HandleMemory };

/** One handle of the call, and where its result belongs. */
type Held = { readonly index: number; readonly handle: SqsHandle };
/** Null for a handle that it was done for. */
type Outcomes = ReadonlyMap<number, HandleResult | null>;
/** Does one call to SQS for up to 10 handles. */
type Step = (batch: readonly Held[]) => Promise<SqsAnswer<Outcomes>>;

const MAX_BATCH_ENTRIES = 10;
/** How long a message stays hidden that is about to be deleted. */
const DELETING_SECONDS = 30;

const STALE: HandleResult = { ok: false, reason: "stale" };
const INVALID: HandleResult = { ok: false, reason: "invalid" };
const FAILED: HandleResult = { ok: false, reason: "failed" };

/** Deletes. A handle past its deadline first has to prove that its message is still its own, by hiding it again. */
export async function deleteHandles(settling: Settling, handles: readonly string[]): Promise<SqsAnswer<readonly HandleResult[]>> {
  const { memory } = settling;
  return eachBatch(memory, handles, async (batch) => {
    const nowMs = Date.now();
    const overdue = batch.filter(({ handle }) => memory.state(handle, nowMs) === "overdue");
    const proven = await changeVisibility(settling, overdue, DELETING_SECONDS);
    if (!proven.ok) return proven;
    const held = batch.filter(({ index }) => (proven.output.get(index) ?? null) === null);
    const deleted = await deleteBatch(settling, held);
    if (!deleted.ok) return deleted;
    done(held, deleted.output, (handle) => memory.end(handle));
    return { ok: true, output: new Map([...proven.output, ...deleted.output]) };
  });
}

/** Makes messages visible again after the delay; their handles have ended then. */
export async function releaseHandles(
  settling: Settling,
  handles: readonly string[],
  delaySeconds: number,
): Promise<SqsAnswer<readonly HandleResult[]>> {
  return eachBatch(settling.memory, handles, async (batch) => {
    const released = await changeVisibility(settling, batch, delaySeconds);
    if (released.ok) done(batch, released.output, (handle) => settling.memory.end(handle));
    return released;
  });
}

/** Hides messages for this long from now; `deadlineMs` is when their handles become doubtful. */
export async function extendHandles(
  settling: Settling,
  handles: readonly string[],
  { visibilitySeconds, deadlineMs }: { readonly visibilitySeconds: number; readonly deadlineMs: number },
): Promise<SqsAnswer<readonly HandleResult[]>> {
  return eachBatch(settling.memory, handles, async (batch) => {
    const extended = await changeVisibility(settling, batch, visibilitySeconds);
    if (extended.ok) done(batch, extended.output, (handle) => settling.memory.extend(handle, deadlineMs));
    return extended;
  });
}

/**
 * Runs the step on the handles that are worth a call. When SQS fails before anything was done, that is the answer;
 * after that, the handles it failed for say so one by one.
 */
async function eachBatch(memory: HandleMemory, handles: readonly string[], step: Step): Promise<SqsAnswer<readonly HandleResult[]>> {
  const results: HandleResult[] = handles.map(() => FAILED);
  const held: Held[] = [];
  const seen = new Set<string>();
  handles.forEach((text, index) => {
    const handle = parseHandle(text);
    if (handle === null) results[index] = INVALID;
    else if (seen.has(handle.nonce) || memory.state(handle, Date.now()) === "ended") results[index] = STALE;
    else {
      seen.add(handle.nonce);
      held.push({ index, handle });
    }
  });
  for (let start = 0; start < held.length; start += MAX_BATCH_ENTRIES) {
    const answer = await step(held.slice(start, start + MAX_BATCH_ENTRIES));
    if (!answer.ok && start === 0) return answer;
    if (!answer.ok) break;
    for (const [index, result] of answer.output) results[index] = result ?? { ok: true };
  }
  return { ok: true, output: results };
}

function done(batch: readonly Held[], outcomes: Outcomes, remember: (handle: SqsHandle) => void): void {
  for (const { index, handle } of batch) if (outcomes.get(index) === null) remember(handle);
}

async function changeVisibility({ sqs, url }: Settling, batch: readonly Held[], seconds: number): Promise<SqsAnswer<Outcomes>> {
  if (batch.length === 0) return { ok: true, output: new Map() };
  const Entries = batch.map(({ index, handle }) => ({ Id: String(index), ReceiptHandle: handle.receiptHandle, VisibilityTimeout: seconds }));
  const changed = await sqs.call("ChangeMessageVisibilityBatch", (client, options) =>
    client.send(new ChangeMessageVisibilityBatchCommand({ QueueUrl: url, Entries }), options),
  );
  // A handle of ours that SQS does not accept is one whose message was deleted, or went to someone else.
  return changed.ok ? { ok: true, output: outcomesOf(batch, changed.output.Failed, STALE) } : changed;
}

async function deleteBatch({ sqs, url }: Settling, batch: readonly Held[]): Promise<SqsAnswer<Outcomes>> {
  if (batch.length === 0) return { ok: true, output: new Map() };
  const Entries = batch.map(({ index, handle }) => ({ Id: String(index), ReceiptHandle: handle.receiptHandle }));
  const deleted = await sqs.call("DeleteMessageBatch", (client, options) =>
    client.send(new DeleteMessageBatchCommand({ QueueUrl: url, Entries }), options),
  );
  return deleted.ok ? { ok: true, output: outcomesOf(batch, deleted.output.Failed, INVALID) } : deleted;
}

function outcomesOf(batch: readonly Held[], failed: readonly BatchResultErrorEntry[] | undefined, refused: HandleResult): Outcomes {
  const faults = new Map(failed?.map(({ Id, SenderFault }) => [Id, SenderFault === true ? refused : FAILED]));
  return new Map(batch.map(({ index }) => [index, faults.get(String(index)) ?? null]));
}
