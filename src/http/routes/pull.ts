import type { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import type { BoxRef } from "../../mailbox/mailbox.ts";
import { credentialsOf } from "../middleware/authenticate.ts";
import { endpointBox, type PullCall, queueBox } from "../pull-boxes.ts";
import { receive, settle } from "../pull-calls.ts";
import type { Settlement } from "../pull-receipts.ts";
import {
  ackOfEndpoint, ackOfQueue, ackOfSeveral, deleteOfEndpoint, deleteOfQueue, extendOfEndpoint, extendOfQueue, extendOfSeveral,
  nackOfEndpoint, nackOfQueue, nackOfSeveral, receiveOfEndpoint, receiveOfQueue, receiveOfSeveral,
} from "../pull-routes.ts";
import type { ExtendBody, NackBody, ReceiptErrorCode, ReceiveQuery } from "../pull-schemas.ts";
import { requestWorld } from "../request-world.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";

export const pull = createRouter();

pull.openapi(receiveOfEndpoint, async (c) => {
  const box = await endpointBox(pullCall(c), c.req.valid("param").id);
  return received(c, [box], c.req.valid("query"), { severalQueues: false });
});

pull.openapi(receiveOfQueue, async (c) => {
  const box = await queueBox(pullCall(c), c.req.valid("param").queue);
  return received(c, [box], c.req.valid("query"), { severalQueues: false });
});

pull.openapi(receiveOfSeveral, async (c) => {
  const { queue, ...query } = c.req.valid("query");
  const boxes = await Promise.all(queue.map((name) => queueBox(pullCall(c), name)));
  return received(c, boxes, query, { severalQueues: true });
});

pull.openapi(ackOfEndpoint, async (c) => {
  const box = await endpointBox(pullCall(c), c.req.valid("param").id);
  return c.json({ results: await settle(pullCall(c), c.req.valid("json").receipts, { verb: "ack" }, box) }, 200);
});

pull.openapi(nackOfEndpoint, async (c) => {
  const box = await endpointBox(pullCall(c), c.req.valid("param").id);
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, nacked(body), box) }, 200);
});

pull.openapi(extendOfEndpoint, async (c) => {
  const box = await endpointBox(pullCall(c), c.req.valid("param").id);
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, extended(body), box) }, 200);
});

pull.openapi(deleteOfEndpoint, async (c) => {
  const { id, receipt } = c.req.valid("param");
  await deleteOne(c, receipt, await endpointBox(pullCall(c), id));
  return c.body(null, 204);
});

pull.openapi(ackOfQueue, async (c) => {
  const box = await queueBox(pullCall(c), c.req.valid("param").queue);
  return c.json({ results: await settle(pullCall(c), c.req.valid("json").receipts, { verb: "ack" }, box) }, 200);
});

pull.openapi(nackOfQueue, async (c) => {
  const box = await queueBox(pullCall(c), c.req.valid("param").queue);
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, nacked(body), box) }, 200);
});

pull.openapi(extendOfQueue, async (c) => {
  const box = await queueBox(pullCall(c), c.req.valid("param").queue);
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, extended(body), box) }, 200);
});

pull.openapi(deleteOfQueue, async (c) => {
  const { queue, receipt } = c.req.valid("param");
  await deleteOne(c, receipt, await queueBox(pullCall(c), queue));
  return c.body(null, 204);
});

pull.openapi(ackOfSeveral, async (c) =>
  c.json({ results: await settle(pullCall(c), c.req.valid("json").receipts, { verb: "ack" }, await boundBox(c)) }, 200),
);

pull.openapi(nackOfSeveral, async (c) => {
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, nacked(body), await boundBox(c)) }, 200);
});

pull.openapi(extendOfSeveral, async (c) => {
  const body = c.req.valid("json");
  return c.json({ results: await settle(pullCall(c), body.receipts, extended(body), await boundBox(c)) }, 200);
});

async function received(
  c: Context<AppEnv>,
  boxes: readonly BoxRef[],
  query: z.output<typeof ReceiveQuery>,
  { severalQueues }: { readonly severalQueues: boolean },
): Promise<Response> {
  const body = await receive({ ...pullCall(c), request: c.req.raw, credentials: credentialsOf(c), severalQueues }, boxes, query);
  return c.body(body, 200, { "content-type": "application/json" });
}

function pullCall(c: Context<AppEnv>): PullCall {
  return { ...requestWorld(c), tenantId: c.get("principal").tenantId };
}

/** The one mailbox of a bound token; null for any other token: then the receipts say which. */
async function boundBox(c: Context<AppEnv>): Promise<BoxRef | null> {
  const id = c.get("boundEndpointId");
  return id === undefined ? null : endpointBox(pullCall(c), id);
}

async function deleteOne(c: Context<AppEnv>, receipt: string, box: BoxRef): Promise<void> {
  const [result] = await settle(pullCall(c), [receipt], { verb: "ack" }, box);
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
