import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isKnownQueue } from "../../messages/known-queues.ts";
import { publish } from "../../messages/publish.ts";
import { sendBatch } from "../../messages/send-batch.ts";
import { BatchBody, type BatchEntry, readBatch } from "../batch-request.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { requireWithinLimits } from "../publish-limits.ts";
import { identify, readPublish } from "../publish-request.ts";
import {
  anyContent, BODY_IS_THE_MESSAGE, orUnavailable, overloaded, pause, presentAppended, publishAnswer,
  PublishedBatch, publishProblems, publishResponses, publishWorld, requestIdentity, requireAccepted, requireName,
  requireUnreserved,
} from "../published.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, problemResponses } from "../schemas.ts";

const tags = ["Publishing"];
const SEND_THE_SAME_AGAIN =
  "Part of it may be on its way: send the same batch again after `Retry-After`. With the same Idempotency-Key, or with " +
  "an `id` on every message, what was taken is not taken twice.";

const publishEvent = createRoute({
  method: "post",
  path: "/v1/events/{topic}",
  tags,
  summary: "Publish an event",
  description:
    `${BODY_IS_THE_MESSAGE} Answers once the message is on disk; an id chosen by the publisher (\`ce-id\`) ` +
    "de-duplicates on its topic for 24 h.",
  middleware: requireScope("publish"),
  request: {
    params: z.object({ topic: z.string().openapi({ param: { name: "topic", in: "path" }, example: "orders.completed" }) }),
    body: anyContent,
  },
  responses: publishResponses,
});

const publishBatch = createRoute({
  method: "post",
  path: "/v1/batch",
  tags,
  summary: "Publish up to 500 messages at once",
  description:
    "Events, commands and direct messages, at most 5 MiB. All are checked before any is accepted, and those of one " +
    "topic, queue or node are accepted as one. When only some of several have room for theirs, the answer is 503: sent " +
    "again with the same `Idempotency-Key`, or with an `id` on every message, the batch is accepted once.",
  middleware: requireScope("publish"),
  request: { body: { ...jsonBody(BatchBody), required: true } },
  responses: {
    202: jsonResponse(PublishedBatch, "A result for each message, in order"),
    ...publishProblems,
    ...problemResponses("unknown-queue"),
  },
});

export const publishing = createRouter();

// Both read their own bodies: the validator would parse them, and no byte may be written anew.
publishing.openAPIRegistry.registerPath(publishEvent);
publishing.post("/v1/events/:topic", requireScope("publish"), async (c) => {
  const topic = requireName("topic", c.req.param("topic"));
  requireUnreserved([{ name: topic }]);
  const { batched, messages } = await readPublish(c.req.raw);
  requireWithinLimits(c, messages);
  const events = await identify(messages, requestIdentity(c));
  const appended = await requireAccepted(c, publish(publishWorld(c), c.get("principal").tenantId, topic, events));
  return publishAnswer(c, { kind: "topics", name: topic }, appended, batched);
});

publishing.openAPIRegistry.registerPath(publishBatch);
publishing.post("/v1/batch", requireScope("publish"), async (c) => {
  const entries = await readBatch(c.req.raw);
  requireUnreserved(entries.filter(({ address }) => address.kind === "topics").map(({ address, pointer }) => ({ name: address.name, pointer })));
  await requireQueues(c, entries);
  requireWithinLimits(c, entries.map(({ message }) => message));
  const messages = await identify(entries.map(({ message }) => message), requestIdentity(c));
  const batch = messages.flatMap((message, index) => {
    const entry = entries[index];
    return entry === undefined ? [] : [{ address: entry.address, message }];
  });
  const world = { ...publishWorld(c), pause };
  const sent = await orUnavailable(c.get("requestId"), sendBatch(world, c.get("principal").tenantId, batch), SEND_THE_SAME_AGAIN);
  if (!sent.ok) {
    const detail = sent.partly ? SEND_THE_SAME_AGAIN : "There is no room for any of it right now: send it again after `Retry-After`.";
    return overloaded(sent.retryAfterSeconds, detail);
  }
  const results = batch.flatMap(({ address }, index) => {
    const appended = sent.appended[index];
    return appended === undefined ? [] : [presentAppended(address, appended)];
  });
  return c.json({ results }, 202);
});

/** Ends the request with 404 that names every message to a queue the tenant does not have. */
async function requireQueues(c: Context<AppEnv>, entries: readonly BatchEntry[]): Promise<void> {
  const { tenantId } = c.get("principal");
  const commands = entries.filter(({ address }) => address.kind === "queues");
  const names = [...new Set(commands.map(({ address }) => address.name))];
  const nowMs = Date.now();
  const known = await Promise.all(names.map((name) => isKnownQueue(c.env.DB, tenantId, name, nowMs)));
  const unknown = new Set(names.filter((_name, index) => known[index] !== true));
  if (unknown.size === 0) return;
  fail({
    code: "unknown-queue",
    detail: "Create the queues with `PUT /v1/queues/{queue}`, or mend the listed fields: none of the batch was accepted.",
    errors: commands
      .filter(({ address }) => unknown.has(address.name))
      .map(({ address, pointer }) => ({ pointer, detail: `there is no queue \`${address.name}\`` })),
  });
}
