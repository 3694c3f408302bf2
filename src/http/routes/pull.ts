import type { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { CACHE_MAX_AGE_MS } from "../../delivery/freshness.ts";
import type { BoxRef, ReceivedMessage } from "../../mailbox/mailbox.ts";
import { openMailbox } from "../../mailbox/open-mailbox.ts";
import { RecentReads } from "../../recent-reads.ts";
import { findExpunged, hasExpunged } from "../../storage/expunged.ts";
import { endpointBox, findBox, queueBox } from "../pull-boxes.ts";
import { mailboxProblem } from "../pull-fault.ts";
import { presentMessages } from "../pull-json.ts";
import { putBack, receiveLater, receiveNow, type Receiver, type Taken } from "../pull-receive.ts";
import { type Settlement, settleReceipts } from "../pull-receipts.ts";
import { mayGoOn } from "../middleware/still-allowed.ts";
import { lateJson } from "../pull-response.ts";
import {
  ackOfEndpoint, ackOfQueue, ackOfSeveral, deleteOfEndpoint, deleteOfQueue, extendOfEndpoint, extendOfQueue, extendOfSeveral,
  nackOfEndpoint, nackOfQueue, nackOfSeveral, receiveOfEndpoint, receiveOfQueue, receiveOfSeveral,
} from "../pull-routes.ts";
import type { ExtendBody, NackBody, ReceiptErrorCode, ReceiptResult, ReceiveQuery } from "../pull-schemas.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";

const MAX_CACHED_TENANTS = 10_000;

/** Whether tenants have expunged anything that a mailbox may still have. */
const recentlyExpunging = new RecentReads<boolean>(CACHE_MAX_AGE_MS, MAX_CACHED_TENANTS);

export const pull = createRouter();

pull.openapi(receiveOfEndpoint, async (c) => {
  const box = await endpointBox(c, c.req.valid("param").id);
  return receive(c, [box], c.req.valid("query"), { severalQueues: false });
});

pull.openapi(receiveOfQueue, async (c) => {
  const box = await queueBox(c, c.req.valid("param").queue);
  return receive(c, [box], c.req.valid("query"), { severalQueues: false });
});

pull.openapi(receiveOfSeveral, async (c) => {
  const { queue, ...query } = c.req.valid("query");
  const boxes = await Promise.all(queue.map((name) => queueBox(c, name)));
  return receive(c, boxes, query, { severalQueues: true });
});

pull.openapi(ackOfEndpoint, async (c) => {
  const box = await endpointBox(c, c.req.valid("param").id);
  return c.json({ results: await settle(c, c.req.valid("json").receipts, { verb: "ack" }, box) }, 200);
});

pull.openapi(nackOfEndpoint, async (c) => {
  const box = await endpointBox(c, c.req.valid("param").id);
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, nacked(body), box) }, 200);
});

pull.openapi(extendOfEndpoint, async (c) => {
  const box = await endpointBox(c, c.req.valid("param").id);
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, extended(body), box) }, 200);
});

pull.openapi(deleteOfEndpoint, async (c) => {
  const { id, receipt } = c.req.valid("param");
  await deleteOne(c, receipt, await endpointBox(c, id));
  return c.body(null, 204);
});

pull.openapi(ackOfQueue, async (c) => {
  const box = await queueBox(c, c.req.valid("param").queue);
  return c.json({ results: await settle(c, c.req.valid("json").receipts, { verb: "ack" }, box) }, 200);
});

pull.openapi(nackOfQueue, async (c) => {
  const box = await queueBox(c, c.req.valid("param").queue);
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, nacked(body), box) }, 200);
});

pull.openapi(extendOfQueue, async (c) => {
  const box = await queueBox(c, c.req.valid("param").queue);
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, extended(body), box) }, 200);
});

pull.openapi(deleteOfQueue, async (c) => {
  const { queue, receipt } = c.req.valid("param");
  await deleteOne(c, receipt, await queueBox(c, queue));
  return c.body(null, 204);
});

pull.openapi(ackOfSeveral, async (c) =>
  c.json({ results: await settle(c, c.req.valid("json").receipts, { verb: "ack" }, await boundBox(c)) }, 200),
);

pull.openapi(nackOfSeveral, async (c) => {
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, nacked(body), await boundBox(c)) }, 200);
});

pull.openapi(extendOfSeveral, async (c) => {
  const body = c.req.valid("json");
  return c.json({ results: await settle(c, body.receipts, extended(body), await boundBox(c)) }, 200);
});

/**
 * The first look decides the status, a fault of the mailbox included; only then, with nothing there and time left,
 * does the answer begin without its end being known.
 */
async function receive(
  c: Context<AppEnv>,
  boxes: readonly BoxRef[],
  { max, wait, visibility }: z.output<typeof ReceiveQuery>,
  { severalQueues }: { readonly severalQueues: boolean },
): Promise<Response> {
  const respond = (body: string | ReadableStream): Response => c.body(body, 200, { "content-type": "application/json" });
  const present = async (taken: readonly Taken[]): Promise<string> =>
    JSON.stringify(await presentMessages(taken, { keys, tenantId, severalQueues }));
  const { encryptionKeys: keys } = c.get("config");
  const { tenantId } = c.get("principal");
  // what only asks for the headers must not take a message
  if (c.req.method === "HEAD") return respond(await present([]));

  const background = (work: Promise<void>): void => c.executionCtx.waitUntil(work);
  const receiver: Receiver = {
    mailbox: openMailbox(c.env, c.get("config")),
    boxes,
    max,
    visibilitySeconds: visibility,
    random: Math.random,
    expunged: (messages) => expungedOf(c, messages),
    background,
  };
  const look = receiveNow(receiver);
  background(look.then((found) => (found.ok && c.req.raw.signal.aborted ? putBack(receiver.mailbox, found.taken) : undefined)));
  const received = await look;
  if (!received.ok) return fail(mailboxProblem(received));
  if (received.taken.length > 0 || wait === 0) return respond(await present(received.taken));
  return respond(
    lateJson({
      work: async (gone) => stillAllowedTo(c, receiver, await receiveLater(receiver, wait, gone)),
      present,
      undo: (taken) => putBack(receiver.mailbox, taken),
      background,
    }),
  );
}

/** D1 is asked for messages only where the tenant has expunged any lately. */
async function expungedOf(c: Context<AppEnv>, messages: readonly ReceivedMessage[]): Promise<ReadonlySet<ReceivedMessage>> {
  const { tenantId } = c.get("principal");
  const background = (work: Promise<unknown>): void => c.executionCtx.waitUntil(work);
  const some = await recentlyExpunging.getOrRead(tenantId, Date.now(), () => hasExpunged(c.env.DB, tenantId), background);
  if (!some) return new Set();
  const found = await findExpunged(c.env.DB, tenantId, messages.map(({ id }) => id));
  return new Set(messages.filter(({ id, offset }) => found.has(`${id} ${offset}`)));
}

/** Nothing, with all of it put back, for a token that was revoked while it waited. */
async function stillAllowedTo(c: Context<AppEnv>, { mailbox }: Receiver, taken: readonly Taken[]): Promise<readonly Taken[]> {
  if (taken.length === 0 || (await mayGoOn(c))) return taken;
  await putBack(mailbox, taken);
  return [];
}

/** The one mailbox of a bound token; null for any other token: then the receipts say which. */
async function boundBox(c: Context<AppEnv>): Promise<BoxRef | null> {
  const id = c.get("boundEndpointId");
  return id === undefined ? null : endpointBox(c, id);
}

/** With `only`, the receipts of that box alone count. */
async function settle(
  c: Context<AppEnv>,
  receipts: readonly string[],
  settlement: Settlement,
  only: BoxRef | null,
): Promise<ReceiptResult[]> {
  const settled = await settleReceipts(
    {
      keys: c.get("config").encryptionKeys,
      tenantId: c.get("principal").tenantId,
      mailbox: openMailbox(c.env, c.get("config")),
      findBox: (kind, id) => findBox(c, kind, id),
    },
    receipts,
    settlement,
    only,
  );
  return settled.ok ? [...settled.results] : fail(mailboxProblem(settled));
}

async function deleteOne(c: Context<AppEnv>, receipt: string, box: BoxRef): Promise<void> {
  const [result] = await settle(c, [receipt], { verb: "ack" }, box);
  if (result?.error !== undefined) refuseReceipt(result.error);
}

function refuseReceipt(error: ReceiptErrorCode): never {
  switch (error) {
    case "stale":
    case "repeated":
      return fail({ code: "not-found", detail: "The receipt is stale: its message was deleted already, or is visible again since. Nothing was deleted." });
    case "foreign":
      return fail({ code: "not-found", detail: "The receipt is of another endpoint or queue. Nothing was deleted." });
    case "malformed":
    case "forged":
      return fail({ code: "not-found", detail: "This is no receipt of ours: pass one of a message as it was. Nothing was deleted." });
    case "failed":
      return fail({ code: "unavailable", detail: "The mailbox did not do it: try again.", headers: { "retry-after": "1" } });
  }
}

function nacked({ delaySeconds }: z.output<typeof NackBody>): Settlement {
  return { verb: "nack", delaySeconds };
}

function extended({ visibility }: z.output<typeof ExtendBody>): Settlement {
  return { verb: "extend", visibilitySeconds: visibility };
}
