import { createRoute, z } from "@hono/zod-openapi";
import { anyContent } from "./published.ts";
import { problemResponses } from "./schemas.ts";

// The routes read their own requests: what the protocol asks of them is no schema. This is how /docs shows them.

const tags = ["Streams"];
const path = "/v1/stream/{path}";

const params = z.object({
  path: z.string().openapi({
    param: { name: "path", in: "path" },
    description: "1 to 16 segments; `topics/{topic}`, `queues/{queue}` and `nodes/{node}` are the logs of those",
    example: "drafts/42",
  }),
});

function text(description: string, example?: string) {
  return z.string().optional().openapi({ description, ...(example === undefined ? {} : { example }) });
}

function header(description: string) {
  return { description, schema: { type: "string" as const } };
}

const nextOffset = { "Stream-Next-Offset": header("Where to read on from") };
const closed = { "Stream-Closed": header("`true` when the end of a closed stream is reached") };

const create = createRoute({
  method: "put",
  path,
  tags,
  summary: "Create a stream",
  description:
    "Durable Streams Protocol 1.0. The body, if any, is its first content. With `content-type: application/json` it holds " +
    "messages, otherwise bytes. A second PUT that asks for the same gets 200.",
  request: {
    params,
    headers: z.object({
      "stream-ttl": text("Seconds without a read or write after which it ends", "3600"),
      "stream-expires-at": text("When it ends, RFC 3339"),
      "stream-closed": text("`true`: the body is all there will ever be"),
      "stream-forked-from": text("Path of the stream whose content it inherits", "/v1/stream/drafts/41"),
      "stream-fork-offset": text("Up to where; absent: all there is"),
      "stream-fork-sub-offset": text("Bytes, or messages, beyond that offset that are inherited as well"),
    }),
    body: { ...anyContent, required: false },
  },
  responses: {
    201: { description: "Created", headers: { ...nextOffset, Location: header("Its URL") } },
    200: { description: "It is there already, as asked for", headers: nextOffset },
    ...problemResponses("malformed-request", "malformed-target", "malformed-json", "not-found", "method-not-allowed", "conflict", "payload-too-large", "limit-reached"),
  },
});

const append = createRoute({
  method: "post",
  path,
  tags,
  summary: "Append to a stream",
  description:
    "Up to 16 MiB at once, all of it or nothing; answers once it is on disk. A JSON array appends each of its elements. With the " +
    "three `Producer-` headers a repeat is taken once. The logs of topics, queues and nodes are written by publishing: 405.",
  request: {
    params,
    headers: z.object({
      "stream-closed": text("`true` closes the stream, after the body if there is one"),
      "stream-seq": text("Must be beyond the last one of this stream, compared byte by byte"),
      "producer-id": text("An idempotent producer"),
      "producer-epoch": text("Higher ones fence off lower ones"),
      "producer-seq": text("Counts its requests of this epoch from 0"),
    }),
    body: { ...anyContent, required: false },
  },
  responses: {
    204: { description: "Appended, closed, or a producer's repeat of what was", headers: { ...nextOffset, ...closed } },
    200: { description: "Appended for a producer", headers: { ...nextOffset, "Producer-Seq": header("The highest accepted one") } },
    ...problemResponses(
      "malformed-request", "malformed-target", "stale-epoch", "not-found", "method-not-allowed", "conflict", "stream-closed",
      "sequence-conflict", "gone", "payload-too-large", "overloaded",
    ),
  },
});

const read = createRoute({
  method: "get",
  path,
  tags,
  summary: "Read a stream, or the log of a topic, queue or node",
  description:
    "About 1 MiB an answer; read on from `Stream-Next-Offset` until `Stream-Up-To-Date`. A log is a JSON stream of envelopes `{id, " +
    "topic, offset, time, contentType, attributes, data | dataBase64}`, and takes the offsets that publishing returned.",
  request: {
    params,
    query: z.object({
      offset: text("`-1` from the beginning, `now` from here, or a Stream-Next-Offset", "-1"),
      since: text("Of a log: from the first message at this time or later, RFC 3339"),
      live: z.enum(["long-poll", "sse"]).optional().openapi({ description: "At the end wait for more: 204 after 15 s, or server-sent events" }),
      cursor: text("The last `Stream-Cursor`"),
    }),
  },
  responses: {
    200: {
      description: "What is there from the offset on",
      headers: {
        ...nextOffset, ...closed,
        "Stream-Up-To-Date": header("`true` when this was all there is"),
        "Stream-Cursor": header("To be sent as `cursor` with the next live read"),
      },
      content: anyContent.content,
    },
    204: { description: "A long poll without anything new", headers: { ...nextOffset, ...closed } },
    304: { description: "As it was, by `If-None-Match`" },
    ...problemResponses("malformed-request", "malformed-target", "not-found", "gone", "overloaded"),
  },
});

const remove = createRoute({
  method: "delete",
  path,
  tags,
  summary: "Delete a stream",
  description: "Forks of it keep what they inherited; as long as there are any, its path is not free.",
  request: { params },
  responses: {
    204: { description: "Deleted" },
    ...problemResponses("malformed-target", "not-found", "method-not-allowed", "gone"),
  },
});

export const streamDocumentation = [create, append, read, remove];
