import type { z } from "@hono/zod-openapi";
import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { isolateOf } from "../isolate.ts";
import type { BoxRef, ReceivedMessage } from "../mailbox/mailbox.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { RecentReads } from "../recent-reads.ts";
import { findExpunged, hasExpunged } from "../storage/expunged.ts";
import { type Credentials, mayGoOn } from "./callers.ts";
import { findBox, type PullCall } from "./pull-boxes.ts";
import { mailboxProblem } from "./pull-fault.ts";
import { presentMessages } from "./pull-json.ts";
import { putBack, receiveLater, receiveNow, type Receiver, type Taken } from "./pull-receive.ts";
import { type Settlement, settleReceipts } from "./pull-receipts.ts";
import { lateJson } from "./pull-response.ts";
import type { ReceiptResult, ReceiveQuery } from "./pull-schemas.ts";
import { fail } from "./router.ts";

/** A call that receives. */
export type ReceiveCall = PullCall & {
  readonly request: Request;
  readonly credentials: Credentials;
  /** Whether each message says which queue it came from. */
  readonly severalQueues: boolean;
};

const MAX_CACHED_TENANTS = 10_000;

/** Whether tenants have expunged anything that a mailbox may still have. */
const recentlyExpunging = new RecentReads<boolean>(CACHE_MAX_AGE_MS, MAX_CACHED_TENANTS);

/**
 * The JSON of what there is in the boxes. The first look decides the status, a fault of the mailbox included; only then,
 * with nothing there and time left, does the answer begin without its end being known.
 */
export async function receive(
  call: ReceiveCall,
  boxes: readonly BoxRef[],
  { max, wait, visibility }: z.output<typeof ReceiveQuery>,
): Promise<string | ReadableStream<Uint8Array>> {
  const { env, tenantId, severalQueues, inBackground, request } = call;
  const { config } = isolateOf(env);
  const present = async (taken: readonly Taken[]): Promise<string> =>
    JSON.stringify(await presentMessages(taken, { keys: config.encryptionKeys, tenantId, severalQueues }));
  // what only asks for the headers must not take a message
  if (request.method === "HEAD") return present([]);

  const receiver: Receiver = {
    mailbox: openMailbox(env, config),
    boxes,
    max,
    visibilitySeconds: visibility,
    random: Math.random,
    expunged: (messages) => expungedOf(call, messages),
    background: inBackground,
  };
  const look = receiveNow(receiver);
  inBackground(look.then((found) => (found.ok && request.signal.aborted ? putBack(receiver.mailbox, found.taken) : undefined)));
  const received = await look;
  if (!received.ok) return fail(mailboxProblem(received));
  if (received.taken.length > 0 || wait === 0) return present(received.taken);
  return lateJson({
    work: async (gone) => stillAllowedTo(call, receiver, await receiveLater(receiver, wait, gone)),
    present,
    undo: (taken) => putBack(receiver.mailbox, taken),
    background: inBackground,
  });
}

/** Settles each receipt. With `only`, the receipts of that box alone count. */
export async function settle(
  call: PullCall,
  receipts: readonly string[],
  settlement: Settlement,
  only: BoxRef | null,
): Promise<ReceiptResult[]> {
  const { env, tenantId } = call;
  const { config } = isolateOf(env);
  const settled = await settleReceipts(
    { keys: config.encryptionKeys, tenantId, mailbox: openMailbox(env, config), findBox: (kind, id) => findBox(call, kind, id) },
    receipts,
    settlement,
    only,
  );
  return settled.ok ? [...settled.results] : fail(mailboxProblem(settled));
}

/** D1 is asked for messages only where the tenant has expunged any lately. */
async function expungedOf({ env, tenantId, inBackground }: PullCall, messages: readonly ReceivedMessage[]): Promise<ReadonlySet<ReceivedMessage>> {
  const some = await recentlyExpunging.getOrRead(tenantId, Date.now(), () => hasExpunged(env.DB, tenantId), inBackground);
  if (!some) return new Set();
  const found = await findExpunged(env.DB, tenantId, messages.map(({ id }) => id));
  return new Set(messages.filter(({ id, offset }) => found.has(`${id} ${offset}`)));
}

/** Nothing, with all of it put back, for a token that was revoked while it waited. */
async function stillAllowedTo(call: ReceiveCall, { mailbox }: Receiver, taken: readonly Taken[]): Promise<readonly Taken[]> {
  if (taken.length === 0 || (await mayGoOn(call, call.credentials))) return taken;
  await putBack(mailbox, taken);
  return [];
}
