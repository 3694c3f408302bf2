import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { matchesTopic, parsePattern, type TopicPattern } from "../../messages/topic.ts";
import { listTopicsAfter } from "../../storage/streams.ts";
import { openLog } from "../../streams/open-log.ts";
import { cursorValues, parseCursorValues, type TailCursor } from "../../tail/cursor.ts";
import { Tail, type TailedTopic } from "../../tail/tail.ts";
import { Since } from "../history-json.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { type CursorScope, decodeCursor, encodeCursor } from "../pagination.ts";
import { pause } from "../published.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { problemResponses } from "../schemas.ts";

/** Each is a call to its object that waits. */
const MAX_TOPICS = 100;
const TOPICS_PER_QUERY = 1_000;
/** One answer of one topic: what many busy topics make this request hold stays small. */
const READ_BYTES = 64 * 1024;
/** An exact pattern needs no registry, and its topic no number. */
const THE_ONE = 0;

const tailRoute = createRoute({
  method: "get",
  path: "/v1/tail",
  tags: ["Streams"],
  summary: "Watch topics live",
  description:
    "Server-sent events: one for each message on a topic that matches the pattern, those that appear later included, with " +
    "the envelope of `/v1/stream/topics/{topic}` as its `data`. Sent back as `Last-Event-ID`, the `id` of the last event " +
    "goes on right after it, with no gap and no duplicate. What was trimmed meanwhile is an event `gap` with `topic`, " +
    "`from` and `to`. Order holds within a topic. The response ends after ten minutes at the latest: connect again.",
  middleware: [requireScope("read", "consume")] as const,
  request: {
    query: z.object({
      topic: z.string().openapi({ description: "A pattern, as in subscriptions", example: "orders.**" }),
      since: Since.optional().openapi({ description: "From this time on (RFC 3339) instead of from now; `Last-Event-ID` goes before it" }),
    }),
    headers: z.object({ "last-event-id": z.string().optional().openapi({ description: "The `id` of the last event that was seen" }) }),
  },
  responses: {
    200: { description: "The events", content: { "text/event-stream": { schema: z.string() } } },
    ...problemResponses("malformed-target", "invalid-cursor", "invalid-request"),
  },
});

const RESUME =
  "Send the `id` of the last event that was seen as it was, to a tail of the same pattern, or leave `Last-Event-ID` out to begin now.";

export const tail = createRouter();

tail.openapi(tailRoute, async (c) => {
  const { topic, since } = c.req.valid("query");
  const parsed = parsePattern(topic);
  if (!parsed.ok) {
    return fail({ code: "malformed-target", detail: "Mend the pattern.", errors: [{ pointer: "?topic", detail: parsed.detail }] });
  }
  const scope: CursorScope = { config: c.get("config"), tenantId: c.get("principal").tenantId, list: `tail:${topic}` };
  const given = await decodeCursor(scope, c.req.valid("header")["last-event-id"] || undefined, RESUME);
  const cursor: TailCursor = given === undefined ? { sinceMs: since ?? Date.now(), positions: new Map() } : parseCursorValues(given);
  const newTopics = topicsOf(c, parsed.pattern);
  const topics = await newTopics();
  if (topics === null) {
    const detail = `More than ${MAX_TOPICS} topics match: watch fewer at once.`;
    return fail({ code: "invalid-request", detail, errors: [{ pointer: "?topic", detail }] });
  }
  c.header("content-type", "text/event-stream");
  c.header("cache-control", "no-store, no-transform");
  if (c.req.method === "HEAD") return c.body(null, 200);
  return c.body(eventsOf(openTail(c, scope, cursor, topics, newTopics)), 200);
});

function openTail(
  c: Context<AppEnv>,
  scope: CursorScope,
  cursor: TailCursor,
  topics: readonly TailedTopic[],
  newTopics: () => Promise<readonly TailedTopic[] | null>,
): Tail {
  const { tenantId } = c.get("principal");
  return new Tail(cursor, topics, {
    openLog: (name) => openLog(c.env.STREAMS, { tenantId, kind: "topics", name }, READ_BYTES),
    newTopics,
    cursorText: (position) => encodeCursor(scope, cursorValues(position)),
    now: () => Date.now(),
    pause,
    background: (work) => c.executionCtx.waitUntil(work),
  });
}

/** Asked again, it gives the matching topics that are new since; null once they are too many in all. */
function topicsOf(c: Context<AppEnv>, pattern: TopicPattern): () => Promise<TailedTopic[] | null> {
  const { tenantId } = c.get("principal");
  let seen = THE_ONE;
  let count = 0;
  return async () => {
    if (pattern.exact) return count++ === 0 ? [{ number: THE_ONE, name: pattern.text }] : [];
    const found: TailedTopic[] = [];
    for (;;) {
      const topics = await listTopicsAfter(c.env.DB, tenantId, seen, TOPICS_PER_QUERY);
      found.push(...topics.filter(({ name }) => matchesTopic(pattern, name)));
      seen = topics.at(-1)?.number ?? seen;
      if (count + found.length > MAX_TOPICS) return null;
      if (topics.length < TOPICS_PER_QUERY) break;
    }
    count += found.length;
    return found;
  };
}

function eventsOf(events: Tail): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  return new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await events.next();
      if (next === null) controller.close();
      else controller.enqueue(encoder.encode(next));
    },
    cancel() {
      events.end();
    },
  });
}
