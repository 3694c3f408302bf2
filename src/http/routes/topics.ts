import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { auditStatement } from "../../storage/audit.ts";
import { deleteTopicSettings, findTopicSettings, listTopics, putTopicSettings } from "../../storage/topics.ts";
import type { RetentionSettings } from "../../streams/contract.ts";
import { streamName } from "../../streams/ref.ts";
import { DEFAULT_RETENTION } from "../../streams/retention.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { orUnavailable, requireName } from "../published.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

const MAX_RETENTION_SECONDS = 10 * 365 * 24 * 60 * 60;
const RETENTION_ERROR = `Must be a whole number of seconds from 1 to ${MAX_RETENTION_SECONDS}, or null for the default.`;
/** A Durable Object holds 10 GB. */
const MAX_LOG_BYTES = 10_000_000_000;
const BYTES_ERROR = `Must be a whole number of bytes from 1 to ${MAX_LOG_BYTES}, or null for no bound.`;

const TopicParam = z.object({
  topic: z.string().openapi({ param: { name: "topic", in: "path" }, example: "orders.completed" }),
});

const PutTopic = z
  .strictObject({
    retentionSeconds: z
      .int({ error: RETENTION_ERROR })
      .min(1, { error: RETENTION_ERROR })
      .max(MAX_RETENTION_SECONDS, { error: RETENTION_ERROR })
      .nullable()
      .openapi({ description: `How long its messages are kept; null for the default, ${DEFAULT_RETENTION.retentionSeconds} (30 days)` }),
    maxBytes: z
      .int({ error: BYTES_ERROR })
      .min(1, { error: BYTES_ERROR })
      .max(MAX_LOG_BYTES, { error: BYTES_ERROR })
      .nullable()
      .openapi({ description: "How much of them is kept at most, the newest in any case; null for no bound" }),
  })
  .partial()
  .openapi("PutTopic");

const settingsFields = {
  topic: z.string(),
  retentionSeconds: z.number().int(),
  maxBytes: z.number().int().nullable(),
};

const TopicSettings = z.object(settingsFields).openapi("TopicSettings");

const Topic = z
  .object({
    ...settingsFields,
    earliestOffset: z.number().int().openapi({ description: "Of the first message still kept; equal to `nextOffset` when none is" }),
    nextOffset: z.number().int().openapi({ description: "That the next message gets" }),
    earliestTime: Time.nullable(),
    bytes: z.number().int().openapi({ description: "What is kept: content and metadata" }),
  })
  .openapi("Topic");

const putRoute = createRoute({
  method: "put",
  path: "/v1/topics/{topic}",
  tags: ["Topics"],
  summary: "Say how long a topic is kept",
  description:
    "By age, by size or by both, the oldest messages going first. What is left out keeps its value. The topic need not " +
    "have messages yet. Nothing goes that is still to be delivered; what is due goes in the background, within seconds.",
  middleware: [requireScope("manage")] as const,
  request: { params: TopicParam, body: jsonBody(PutTopic) },
  responses: {
    200: jsonResponse(TopicSettings, "The settings as they are now"),
    ...problemResponses("malformed-target", "invalid-request", "limit-reached", "unavailable"),
  },
});

const listRoute = createRoute({
  method: "get",
  path: "/v1/topics",
  tags: ["Topics"],
  summary: "List topics",
  description: "Those that have, or had, messages, about a second after the first; and those with settings. By name.",
  middleware: [requireScope("read", "manage")] as const,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(TopicSettings), "A page of topics"), ...problemResponses("invalid-cursor") },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/topics/{topic}",
  tags: ["Topics"],
  summary: "Get a topic",
  description: "With what its log holds now.",
  middleware: [requireScope("read", "manage")] as const,
  request: { params: TopicParam },
  responses: { 200: jsonResponse(Topic, "The topic"), ...problemResponses("malformed-target", "not-found", "unavailable") },
});

const removeRoute = createRoute({
  method: "delete",
  path: "/v1/topics/{topic}",
  tags: ["Topics"],
  summary: "Give a topic its default settings again",
  description: "Its messages stay, as long as the default says.",
  middleware: [requireScope("manage")] as const,
  request: { params: TopicParam },
  responses: { 204: { description: "The default applies" }, ...problemResponses("malformed-target", "unavailable") },
});

export const topics = createRouter();

topics.openapi(putRoute, async (c) => {
  const topic = requireName("topic", c.req.valid("param").topic);
  const { retentionSeconds, maxBytes } = c.req.valid("json");
  const { tenantId } = c.get("principal");
  const db = c.env.DB;
  const before = await findTopicSettings(db, tenantId, topic);
  if (before === null) await requireRoom(c, "topics");
  const known = before ?? DEFAULT_RETENTION;
  const after: RetentionSettings = {
    retentionSeconds: retentionSeconds === undefined ? known.retentionSeconds : (retentionSeconds ?? DEFAULT_RETENTION.retentionSeconds),
    maxBytes: maxBytes === undefined ? known.maxBytes : maxBytes,
  };
  await db.batch([
    putTopicSettings(db, tenantId, topic, after, Date.now()),
    auditStatement(db, auditEntry(c, { action: "topic.update", target: topic, before, after })),
  ]);
  await tell(c, topic, after);
  return c.json({ topic, ...after }, 200);
});

topics.openapi(listRoute, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "topics" };
  const rows = await listTopics(c.env.DB, tenantId, { afterName: await decodeIdCursor(scope, cursor), limit: limit + 1 });
  const page = await toPage(scope, rows, limit, ({ name }) => [name], ({ name, settings }) => ({
    topic: name,
    ...(settings ?? DEFAULT_RETENTION),
  }));
  return c.json(page, 200);
});

topics.openapi(getRoute, async (c) => {
  const topic = requireName("topic", c.req.valid("param").topic);
  const { tenantId } = c.get("principal");
  const stream = streamName({ tenantId, kind: "topics", name: topic });
  const [settings, held] = await Promise.all([
    findTopicSettings(c.env.DB, tenantId, topic),
    orUnavailable(c.get("requestId"), streamStub(c.env.STREAMS, stream).describe(stream), "Its log does not answer: ask again in a moment."),
  ]);
  if (settings === null && held.nextOffset === 0) {
    return fail({ code: "not-found", detail: "Nothing was published to this topic yet, and it has no settings." });
  }
  const { earliestTimeMs, earliestOffset, nextOffset, bytes } = held;
  const earliestTime = earliestTimeMs === null ? null : toTime(earliestTimeMs);
  return c.json({ topic, ...(settings ?? DEFAULT_RETENTION), earliestOffset, nextOffset, earliestTime, bytes }, 200);
});

topics.openapi(removeRoute, async (c) => {
  const topic = requireName("topic", c.req.valid("param").topic);
  const { tenantId } = c.get("principal");
  const db = c.env.DB;
  const before = await findTopicSettings(db, tenantId, topic);
  if (before !== null) {
    const change = { action: "topic.delete", target: topic, before };
    await db.batch([deleteTopicSettings(db, tenantId, topic), auditStatement(db, auditEntry(c, change))]);
  }
  await tell(c, topic, null);
  return c.body(null, 204);
});

/** The topic's object has a copy, so that it needs nobody to trim; after a 503 the change is to be sent again. */
async function tell(c: Context<AppEnv>, topic: string, settings: RetentionSettings | null): Promise<void> {
  const stream = streamName({ tenantId: c.get("principal").tenantId, kind: "topics", name: topic });
  const telling = streamStub(c.env.STREAMS, stream).retain(stream, settings);
  await orUnavailable(c.get("requestId"), telling, "The setting is saved, but does not apply yet: send the request again.");
}
