import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isolateOf } from "../../isolate.ts";
import { describeError, log } from "../../log.ts";
import { publish, type PublishResult, type PublishWorld } from "../../messages/publish.ts";
import type { NewMessage } from "../../messages/message.ts";
import { isTarget } from "../../messages/topic.ts";
import type { Appended } from "../../streams/contract.ts";
import { streamStub } from "../../streams/stub.ts";
import { BatchBody, type BatchEntry, readBatch } from "../batch-request.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { identify, readPublish } from "../publish-request.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, problemResponses, Time, toTime } from "../schemas.ts";

const Published = z
  .object({
    id: z.string().openapi({ description: "Goes out as `webhook-id`", example: "msg_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    topic: z.string().openapi({ example: "orders.completed" }),
    offset: z.number().int().openapi({ description: "Its place in the topic's stream, from 0" }),
    time: Time,
    matched: z.number().int().openapi({ description: "Endpoints it is delivered to" }),
  })
  .openapi("Published");
const PublishedBatch = z.object({ results: z.array(Published) }).openapi("PublishedBatch");

const tags = ["Publishing"];
const middleware = requireScope("publish");
const problems = problemResponses("malformed-target", "payload-too-large", "unsupported-media-type", "overloaded");

const publishEvent = createRoute({
  method: "post",
  path: "/v1/events/{topic}",
  tags,
  summary: "Publish an event",
  description:
    "The body is the message: any content type, any bytes, up to 1 MiB. Attributes travel as `Postern-Attribute-<name>` " +
    "headers. CloudEvents 1.0 is accepted in binary, structured and batched mode. Answers once the message is on disk; " +
    "an id chosen by the publisher (`ce-id`) de-duplicates on its topic for 24 h.",
  middleware,
  request: {
    params: z.object({ topic: z.string().openapi({ param: { name: "topic", in: "path" }, example: "orders.completed" }) }),
    body: { content: { "*/*": { schema: z.string().openapi({ format: "binary" }) } } },
  },
  responses: {
    202: jsonResponse(z.union([Published, PublishedBatch]), "Accepted: on disk, on its way"),
    200: jsonResponse(z.union([Published, PublishedBatch]), "Accepted before under the same id: the first result, no new delivery"),
    ...problems,
  },
});

const publishBatch = createRoute({
  method: "post",
  path: "/v1/batch",
  tags,
  summary: "Publish up to 500 messages at once",
  description: "At most 5 MiB. All messages are checked before any is accepted.",
  middleware,
  request: { body: { ...jsonBody(BatchBody), required: true } },
  responses: { 202: jsonResponse(PublishedBatch, "A result for each message, in order"), ...problems },
});

export const publishing = createRouter();

publishing.openapi(publishEvent, async (c) => {
  const topic = c.req.param("topic");
  if (!isTarget(topic)) {
    fail({ code: "malformed-target", detail: "A topic is dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters." });
  }
  const { batched, messages } = await readPublish(c.req.raw);
  const appended = await publishOn(c, topic, await identify(messages, requestIdentity(c)));
  const results = appended.map((one) => resultOf(topic, one));
  const status = appended.every(({ duplicate }) => duplicate) ? 200 : 202;
  const [first] = results;
  return batched || first === undefined ? c.json({ results }, status) : c.json(first, status);
});

// Reads its own body: the validator would parse it, and `data` must stay as it was sent.
publishing.openAPIRegistry.registerPath(publishBatch);
publishing.post("/v1/batch", requireScope("publish"), async (c) => {
  const entries = await readBatch(c.req.raw);
  const messages = await identify(entries.map(({ message }) => message), requestIdentity(c));
  const results = await Promise.all(
    [...byTopic(entries)].map(async ([topic, indexes]) => {
      const own = indexes.map((index) => messages[index]).filter((message) => message !== undefined);
      const appended = await publishOn(c, topic, own);
      return appended.map((one, position) => ({ index: indexes[position] ?? 0, result: resultOf(topic, one) }));
    }),
  );
  const inOrder = results.flat().sort((left, right) => left.index - right.index);
  return c.json({ results: inOrder.map(({ result }) => result) }, 202);
});

async function publishOn(c: Context<AppEnv>, topic: string, messages: readonly NewMessage[]): Promise<readonly Appended[]> {
  const result = await publish(publishWorld(c.env), c.get("principal").tenantId, topic, messages).catch(
    (error: unknown): PublishResult | null => {
      log("error", "publish.failed", { requestId: c.get("requestId"), ...describeError(error) });
      return null;
    },
  );
  if (result === null) {
    fail({ code: "unavailable", detail: "Nothing was promised: send it again in a moment.", headers: { "retry-after": "2" } });
  }
  if (!result.ok) {
    const headers = { "retry-after": String(result.retryAfterSeconds) };
    fail({ code: "overloaded", detail: "The topic takes no more right now: send it again after `Retry-After`.", headers });
  }
  return result.appended;
}

/** What publishing needs, from the Worker's bindings. */
export function publishWorld(env: AppEnv["Bindings"]): PublishWorld {
  const { routes, world } = isolateOf(env);
  return { db: env.DB, routes, stream: (name) => streamStub(env.STREAMS, name), now: world.now };
}

function requestIdentity(c: Context<AppEnv>) {
  return {
    idempotencyKeyHash: c.get("idempotencyKeyHash"),
    traceparent: c.req.header("traceparent") ?? null,
    nowMs: Date.now(),
  };
}

function byTopic(entries: readonly BatchEntry[]): Map<string, number[]> {
  const topics = new Map<string, number[]>();
  entries.forEach(({ topic }, index) => topics.set(topic, [...(topics.get(topic) ?? []), index]));
  return topics;
}

function resultOf(topic: string, { id, offset, timeMs, matched }: Appended): z.infer<typeof Published> {
  return { id, topic, offset, time: toTime(timeMs), matched };
}
