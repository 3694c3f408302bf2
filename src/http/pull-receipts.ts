import { log } from "../log.ts";
import type { BoxRef, HandleResult, Mailbox, MailboxFault } from "../mailbox/mailbox.ts";
import { openReceipt, type ReceiptContent, type ReceiptKeys } from "../mailbox/receipt.ts";
import type { ReceiptErrorCode, ReceiptResult } from "./pull-schemas.ts";

/** What is to be done with the messages that receipts stand for. */
export type Settlement =
  | { readonly verb: "ack" }
  | { readonly verb: "nack"; readonly delaySeconds: number }
  | { readonly verb: "extend"; readonly visibilitySeconds: number };

export type SettleWorld = {
  readonly keys: ReceiptKeys;
  readonly tenantId: string;
  readonly mailbox: Mailbox;
  /** The box a receipt of the tenant names; null when it is no more. */
  readonly findBox: (kind: BoxRef["kind"], id: string) => Promise<BoxRef | null>;
};

export type Settled = { readonly ok: true; readonly results: readonly ReceiptResult[] } | MailboxFault;

/** A receipt of the call that is worth asking the mailbox for, by its place in the call. */
type Held = ReceiptContent & { readonly index: number };
/** What became of receipts, by their place in the call; null where it was done. */
type Outcomes = ReadonlyMap<number, ReceiptErrorCode | null>;

/**
 * Does it for each receipt, and says for each whether it was done; a fault when the mailbox could not be asked about
 * any. With `only`, receipts of every other box are refused.
 */
export async function settleReceipts(
  world: SettleWorld,
  receipts: readonly string[],
  settlement: Settlement,
  only: BoxRef | null,
): Promise<Settled> {
  const { held, refused } = await openReceipts(world, receipts, only);
  const groups = [...Map.groupBy(held, ({ kind, id }) => `${kind}/${id}`).values()];
  const answers = await Promise.all(groups.map((group) => settleGroup(world, group, settlement)));
  const faults = answers.filter((answer) => "code" in answer);
  const [fault] = faults;
  if (fault !== undefined && faults.length === answers.length) return fault;
  const outcomes = new Map(refused);
  for (const answer of answers) {
    if (!("code" in answer)) for (const [index, outcome] of answer) outcomes.set(index, outcome);
  }
  return { ok: true, results: receipts.map((receipt, index) => present(receipt, outcomes.get(index))) };
}

function present(receipt: string, outcome: ReceiptErrorCode | null | undefined): ReceiptResult {
  if (outcome === null) return { receipt, ok: true };
  return { receipt, ok: false, error: outcome ?? "failed" };
}

/** Those that are ours, of a box they may be used for, and not there twice; `refused` says what the others are. */
async function openReceipts(
  { keys, tenantId }: SettleWorld,
  receipts: readonly string[],
  only: BoxRef | null,
): Promise<{ readonly held: readonly Held[]; readonly refused: Outcomes }> {
  const opened = await Promise.all(receipts.map((receipt) => openReceipt(keys, tenantId, receipt)));
  const held: Held[] = [];
  const refused = new Map<number, ReceiptErrorCode>();
  const seen = new Set<string>();
  opened.forEach((content, index) => {
    const receipt = receipts[index] ?? "";
    if (!content.ok) refused.set(index, content.reason);
    else if (only !== null && (content.kind !== only.kind || content.id !== only.id)) refused.set(index, "foreign");
    else if (seen.has(receipt)) refused.set(index, "repeated");
    else held.push({ kind: content.kind, id: content.id, handle: content.handle, index });
    seen.add(receipt);
  });
  return { held, refused };
}

/** Settles what is of one box; its fault, when it could not be asked. */
async function settleGroup(
  { mailbox, findBox }: SettleWorld,
  group: readonly Held[],
  settlement: Settlement,
): Promise<Outcomes | MailboxFault> {
  const [first] = group;
  if (first === undefined) return new Map();
  const box = await findBox(first.kind, first.id);
  // with its box all its messages are gone
  if (box === null) return new Map(group.map(({ index }) => [index, "stale"]));
  const results = await settle(mailbox, box, group.map(({ handle }) => handle), settlement);
  if ("code" in results) {
    log("warn", "pull.mailbox-fault", { box: `${box.tenantId}/${box.kind}/${box.id}`, code: results.code, detail: results.detail });
    return results;
  }
  return new Map(group.map(({ index }, position) => [index, outcomeOf(results[position])]));
}

function settle(
  mailbox: Mailbox,
  box: BoxRef,
  handles: readonly string[],
  settlement: Settlement,
): Promise<readonly HandleResult[] | MailboxFault> {
  switch (settlement.verb) {
    case "ack":
      return mailbox.ack(box, handles);
    case "nack":
      return mailbox.nack(box, handles, settlement.delaySeconds);
    case "extend":
      return mailbox.extend(box, handles, settlement.visibilitySeconds);
  }
}

function outcomeOf(result: HandleResult | undefined): ReceiptErrorCode | null {
  if (result === undefined) return "failed";
  if (result.ok) return null;
  switch (result.reason) {
    // a receipt of ours that the mailbox can make nothing of is from before a change of the mailbox
    case "invalid":
    case "stale":
      return "stale";
    case "failed":
      return "failed";
  }
}
