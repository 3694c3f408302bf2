import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { reopenDeliveries } from "../../delivery/reopen.ts";
import { openMailbox } from "../../mailbox/open-mailbox.ts";
import { expungeMessage } from "../../registry/expunge-message.ts";
import { auditStatement, recordAudit } from "../../storage/audit.ts";
import { listMessages, positionOf } from "../../storage/history-messages.ts";
import { canSendTo, listDeliveries, listLivingTargets } from "../../storage/history-read.ts";
import type { MessageEntry } from "../../storage/history-row.ts";
import type { Content } from "../../streams/contract.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import { awaitMessage } from "../await-message.ts";
import {
  Delivery, deliveryPage, DeliveryPosition, isOrdered, Message, NOT_BEFORE_SINCE, presentMessage, Since, TargetInput,
  TopicFilter, Until,
} from "../history-json.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeCursor, toPage } from "../pagination.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses } from "../schemas.ts";

const TARGETS_PER_QUERY = 1_000;
const SANDBOX = "default-src 'none'; sandbox";

const MessagePosition = z.tuple([z.number(), z.string(), z.number()]);

const WhichTopic = z.object({
  topic: TopicFilter.optional().openapi({
    description:
      "Several topics may have a message with an id that a publisher chose, and an event keeps its id in the queues it " +
      "goes to: the newest of a topic counts, or that of this topic or queue",
  }),
});
const BEHIND =
  "History is about a second behind what was accepted: a message that is not there is looked for again for 2 s " +
  "before the answer is 404.";

const listRoute = createRoute({
  method: "get",
  path: "/v1/messages",
  tags: ["Messages"],
  summary: "List messages",
  description: "Newest first; history is about a second behind.",
  middleware: [requireScope("read")] as const,
  request: {
    query: Page.extend({ topic: TopicFilter.optional(), since: Since.optional(), until: Until.optional() }).refine(
      isOrdered,
      NOT_BEFORE_SINCE,
    ),
  },
  responses: { 200: jsonResponse(pageOf(Message), "Messages"), ...problemResponses("invalid-cursor") },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/messages/{id}",
  tags: ["Messages"],
  summary: "Read what is known of a message",
  description: BEHIND,
  middleware: [requireScope("read")] as const,
  request: { params: IdParam, query: WhichTopic },
  responses: { 200: jsonResponse(Message, "The message, without its bytes"), ...problemResponses("not-found") },
});

const contentRoute = createRoute({
  method: "get",
  path: "/v1/messages/{id}/content",
  tags: ["Messages"],
  summary: "Read the bytes of a message",
  description: `The published bytes with their content type, as a download that no browser runs. ${BEHIND}`,
  middleware: [requireScope("read")] as const,
  request: { params: IdParam, query: WhichTopic },
  responses: {
    200: { description: "The bytes", content: { "*/*": { schema: z.string().openapi({ format: "binary" }) } } },
    ...problemResponses("not-found", "gone"),
  },
});

const expungeRoute = createRoute({
  method: "delete",
  path: "/v1/messages/{id}/content",
  tags: ["Messages"],
  summary: "Expunge the bytes of a message",
  description:
    "Removes the bytes for good, from its stream, from queues it went to, from mailboxes and from what receivers answered, " +
    "and cancels what is still to be delivered of them; the metadata stay. Answers once nobody is given them any more.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, query: WhichTopic },
  responses: { 204: { description: "The bytes are gone" }, ...problemResponses("not-found") },
});

const deliveriesRoute = createRoute({
  method: "get",
  path: "/v1/messages/{id}/deliveries",
  tags: ["Messages"],
  summary: "List the deliveries of a message with their attempts",
  description:
    "Of all messages of the tenant with this id, the newest first: with those of an event also those of the queues it " +
    `went to. A page may hold fewer than \`limit\`; go on while \`next\` is not null. ${BEHIND}`,
  middleware: [requireScope("read")] as const,
  request: { params: IdParam, query: Page.extend(WhichTopic.shape) },
  responses: { 200: jsonResponse(pageOf(Delivery), "Deliveries"), ...problemResponses("invalid-cursor", "not-found") },
});

const resendRoute = createRoute({
  method: "post",
  path: "/v1/messages/{id}/resend",
  tags: ["Messages"],
  summary: "Deliver a message again",
  description:
    "To one endpoint of the tenant, also one that it was not for at the time, or to one other target that it has; or " +
    "to all that it was for and that still exist. The subscriber sees the same `webhook-id`.",
  middleware: [requireScope("manage")] as const,
  request: {
    params: IdParam,
    query: WhichTopic,
    body: jsonBody(z.strictObject({ endpointId: TargetInput.optional() })),
  },
  responses: {
    202: jsonResponse(z.object({ count: z.number().int() }), "How many deliveries were opened"),
    ...problemResponses("not-found", "gone", "invalid-request"),
  },
});

export const messages = createRouter();

messages.openapi(listRoute, async (c) => {
  const { limit, cursor, topic, since, until } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "messages" };
  const position = await decodeCursor(scope, cursor);
  const filter = { topic, sinceMs: since, untilMs: until };
  const after = position === undefined ? undefined : MessagePosition.parse(position);
  const rows = await listMessages(c.env.DB, tenantId, filter, { after, limit: limit + 1 });
  return c.json(await toPage(scope, rows, limit, positionOf, presentMessage), 200);
});

messages.openapi(getRoute, async (c) => {
  const message = await requireMessage(c, c.req.valid("param").id, c.req.valid("query").topic);
  return c.json(presentMessage(message), 200);
});

messages.openapi(contentRoute, async (c) => {
  const message = await requireMessage(c, c.req.valid("param").id, c.req.valid("query").topic);
  const content = await streamStub(c.env.STREAMS, message.stream).content(message.stream, message.offset);
  if (!content.ok) return gone(content.code);
  return c.body(new Uint8Array(content.body), 200, {
    "content-type": content.contentType,
    // a message is whatever its publisher made it: nothing of it may run under our origin
    "content-security-policy": SANDBOX,
    "x-content-type-options": "nosniff",
    "content-disposition": "attachment",
  });
});

messages.openapi(expungeRoute, async (c) => {
  const message = await requireMessage(c, c.req.valid("param").id, c.req.valid("query").topic);
  const change = { action: "message.expunge", target: message.id, after: { topic: message.topic, offset: message.offset } };
  const world = {
    db: c.env.DB,
    tenantId: c.get("principal").tenantId,
    streamOf: (stream: string) => streamStub(c.env.STREAMS, stream),
    mailbox: openMailbox(c.env, c.get("config")),
    now: () => Date.now(),
  };
  await expungeMessage(world, message, auditStatement(c.env.DB, auditEntry(c, change)));
  return c.body(null, 204);
});

messages.openapi(deliveriesRoute, async (c) => {
  const { limit, cursor, topic } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const { id: messageId } = await requireMessage(c, c.req.valid("param").id, topic);
  const scope = { config: c.get("config"), tenantId, list: `deliveries:${messageId}:${topic ?? ""}` };
  const position = await decodeCursor(scope, cursor);
  const after = position === undefined ? undefined : DeliveryPosition.parse(position);
  const rows = await listDeliveries(c.env.DB, tenantId, { messageId, topic }, { after, limit: limit + 1 });
  return c.json(await deliveryPage(c.env.DB, scope, rows, limit), 200);
});

messages.openapi(resendRoute, async (c) => {
  const { endpointId } = c.req.valid("json");
  const { tenantId } = c.get("principal");
  const message = await requireMessage(c, c.req.valid("param").id, c.req.valid("query").topic);
  if (message.expungedAtMs !== null) return gone("expunged");
  if (endpointId !== undefined && !(await canSendTo(c.env.DB, tenantId, message, endpointId))) {
    const detail = "There is no endpoint with this `endpointId`, and the message has no such target.";
    return fail({ code: "not-found", detail });
  }
  const count = await resend(c, message, endpointId);
  const change = { action: "message.resend", target: message.id, after: { topic: message.topic, offset: message.offset, endpointId, count } };
  await recordAudit(c.env.DB, auditEntry(c, change));
  if (count > 0) return c.json({ count }, 202);
  // nothing to do is fine, but a message without bytes can never be sent: say which it is
  const content = await streamStub(c.env.STREAMS, message.stream).content(message.stream, message.offset);
  return content.ok ? c.json({ count }, 202) : gone(content.code);
});

async function resend(c: Context<AppEnv>, message: MessageEntry, target: string | undefined): Promise<number> {
  const open = (targets: readonly string[]) =>
    reopenDeliveries(
      (stream) => streamStub(c.env.STREAMS, stream),
      targets.map((endpointId) => ({ stream: message.stream, offset: message.offset, endpointId })),
    );
  if (target !== undefined) return open([target]);
  let count = 0;
  for (let after = ""; ; ) {
    const page = { after, limit: TARGETS_PER_QUERY };
    const targets = await listLivingTargets(c.env.DB, c.get("principal").tenantId, message, page);
    count += await open(targets);
    const last = targets.at(-1);
    if (last === undefined || targets.length < TARGETS_PER_QUERY) return count;
    after = last;
  }
}

/** The message, or the end of the request with 404. */
async function requireMessage(c: Context<AppEnv>, id: string, topic: string | undefined): Promise<MessageEntry> {
  const message = await awaitMessage(c.env.DB, c.get("principal").tenantId, id, topic);
  if (message !== null) return message;
  return fail({ code: "not-found", detail: "There is no message with this id: it may be older than what history keeps." });
}

function gone(code: Extract<Content, { ok: false }>["code"]): never {
  switch (code) {
    case "expunged":
      return fail({ code: "gone", detail: "The content of this message was expunged; its metadata are still here." });
    case "not-found":
      return fail({ code: "gone", detail: "The content of this message is older than what its stream keeps." });
  }
}
