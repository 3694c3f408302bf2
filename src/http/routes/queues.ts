import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { recallToMembers } from "../../delivery/release-addresses.ts";
import { openMailbox } from "../../mailbox/open-mailbox.ts";
import {
  discardContents,
  MAX_DEAD,
  purgeQueue,
  type QueueContents,
  queueContents,
  type QueueWorld,
  redriveQueue,
} from "../../registry/queue-contents.ts";
import {
  DEFAULT_MAX_RECEIVES,
  MAX_RECEIVES,
  MAX_RETENTION_SECONDS,
  MIN_RECEIVES,
  MIN_RETENTION_SECONDS,
  putQueue,
  removeQueue,
  requireQueue,
  viewQueue,
} from "../../registry/queues.ts";
import type { Receiver } from "../../storage/endpoints.ts";
import { listMembersOf, listQueues, queueExists, type Queue as StoredQueue } from "../../storage/queues.ts";
import { streamStub } from "../../streams/stub.ts";
import { EndpointId, EndpointKind, EndpointStatusName, TopicList } from "../endpoint-schemas.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { registryWorld, valueOf } from "../registry-world.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter } from "../router.ts";
import { jsonBody, jsonResponse, Page, pageOf, problemResponses, Time } from "../schemas.ts";

/** Queues of a page whose depth is asked for at the same time. */
const DEPTHS_AT_ONCE = 4;

const QueueParam = z.object({
  // its grammar is judged by the registry: a malformed name is a 400
  queue: z.string().min(1).openapi({ param: { name: "queue", in: "path" }, example: "billing" }),
});

const RECEIVES_ERROR = `Must be a whole number from ${MIN_RECEIVES} to ${MAX_RECEIVES}.`;
const RETENTION_ERROR = `Must be a whole number of seconds from ${MIN_RETENTION_SECONDS} to ${MAX_RETENTION_SECONDS}.`;

const PutQueue = z
  .strictObject({
    topics: TopicList.openapi({ description: "All patterns the queue is to be bound to, beside those of its members" }),
    maxReceives: z
      .int({ error: RECEIVES_ERROR })
      .min(MIN_RECEIVES, { error: RECEIVES_ERROR })
      .max(MAX_RECEIVES, { error: RECEIVES_ERROR })
      .openapi({ description: `Pulled more often, a message is a dead letter; ${DEFAULT_MAX_RECEIVES} unless said otherwise` }),
    retentionSeconds: z
      .int({ error: RETENTION_ERROR })
      .min(MIN_RETENTION_SECONDS, { error: RETENTION_ERROR })
      .max(MAX_RETENTION_SECONDS, { error: RETENTION_ERROR })
      .openapi({ description: "How long a message waits to be pulled; 14 days unless said otherwise" }),
  })
  .partial()
  .openapi("PutQueue");

const settingsFields = {
  queue: z.string(),
  topics: z.array(z.string()).openapi({ description: "The patterns it is bound to by itself" }),
  maxReceives: z.number().int(),
  retentionSeconds: z.number().int(),
  createdAt: Time,
  updatedAt: Time,
};

const QueueSettings = z.object(settingsFields).openapi("QueueSettings");

const Members = z.array(z.object({ endpointId: EndpointId, kind: EndpointKind, status: EndpointStatusName }));

const contentsFields = {
  depth: z.number().int().openapi({ description: "Messages nobody has dealt with yet, those in flight included" }),
  oldestAgeSeconds: z.number().nullable().openapi({ description: "Age of the oldest of them; with Amazon SQS, which does not tell, the least it can be" }),
  inFlight: z.number().int().openapi({ description: "Pulled, and neither acknowledged nor visible again" }),
  dead: z.number().int().openapi({ description: `Dead letters; of those no push member took, at most ${MAX_DEAD} are counted` }),
};

const Queue = z.object({ ...settingsFields, members: Members, ...contentsFields }).openapi("Queue");

const ListedQueue = z
  .object({
    ...settingsFields,
    members: Members,
    depth: contentsFields.depth.nullable(),
    oldestAgeSeconds: contentsFields.oldestAgeSeconds,
    inFlight: contentsFields.inFlight.nullable(),
    dead: contentsFields.dead.nullable(),
  })
  .openapi("ListedQueue");

const Redriven = z
  .object({
    count: z.number().int().openapi({ description: "Messages put back; an estimate where the mailbox moves them by itself" }),
    more: z.boolean().openapi({ description: "True when there are more than one call puts back: call again" }),
  })
  .openapi("Redriven");

const put = createRoute({
  method: "put",
  path: "/v1/queues/{queue}",
  tags: ["Queues"],
  summary: "Create or change a queue",
  description:
    "What is left out keeps its value, or its default in a new queue. Each message on a topic that the queue is bound " +
    "to is also one message of the queue.",
  middleware: [requireScope("manage")] as const,
  request: { params: QueueParam, body: jsonBody(PutQueue) },
  responses: {
    200: jsonResponse(QueueSettings, "The queue as it is now"),
    201: jsonResponse(QueueSettings, "Created"),
    ...problemResponses("malformed-target", "invalid-request", "limit-reached"),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/queues",
  tags: ["Queues"],
  summary: "List queues",
  description: "By name. Where a queue's mailbox does not answer, its depth is null.",
  middleware: [requireScope("manage", "read")] as const,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(ListedQueue), "A page of queues"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/queues/{queue}",
  tags: ["Queues"],
  summary: "Get a queue",
  description: "With its members, and what waits in it.",
  middleware: [requireScope("manage", "read")] as const,
  request: { params: QueueParam },
  responses: { 200: jsonResponse(Queue, "The queue"), ...problemResponses("malformed-target", "unknown-queue", "unavailable") },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/queues/{queue}",
  tags: ["Queues"],
  summary: "Delete a queue",
  description: "With everything in it, dead letters included, and with its members' subscriptions to it; the members stay.",
  middleware: [requireScope("manage")] as const,
  request: {
    params: QueueParam,
    query: z.object({
      ifUnused: z
        .enum(["true", "false"], { error: "Must be `true` or `false`." })
        .default("false")
        .openapi({ description: "Refuses it while it has members" }),
    }),
  },
  responses: { 204: { description: "Deleted" }, ...problemResponses("malformed-target", "unknown-queue", "conflict") },
});

const purge = createRoute({
  method: "post",
  path: "/v1/queues/{queue}/purge",
  tags: ["Queues"],
  summary: "Drop what waits in a queue",
  description: "Its dead letters stay. After a 503, call again: part of it may be left.",
  middleware: [requireScope("manage")] as const,
  request: { params: QueueParam },
  responses: { 204: { description: "Dropped" }, ...problemResponses("malformed-target", "unknown-queue", "unavailable") },
});

const redrive = createRoute({
  method: "post",
  path: "/v1/queues/{queue}/redrive",
  tags: ["Queues"],
  summary: "Put a queue's dead letters back into it",
  middleware: [requireScope("manage")] as const,
  request: { params: QueueParam },
  responses: { 202: jsonResponse(Redriven, "Put back"), ...problemResponses("malformed-target", "unknown-queue", "unavailable") },
});

export const queues = createRouter();

queues.openapi(put, async (c) => {
  const name = c.req.valid("param").queue;
  await requireRoom(c, "queues", () => queueExists(c.env.DB, c.get("principal").tenantId, name));
  const { queue, created } = valueOf(await putQueue(registryWorld(c), name, c.req.valid("json")));
  return created ? c.json(queue, 201, { location: `/v1/queues/${queue.queue}` }) : c.json(queue, 200);
});

queues.openapi(list, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "queues" };
  const afterName = await decodeIdCursor(scope, cursor);
  const rows = await listQueues(c.env.DB, tenantId, { limit: limit + 1, afterName });
  const members = await listMembersOf(c.env.DB, tenantId, rows.map(({ name }) => name));
  const contents = await contentsOf(queueWorld(c), rows.slice(0, limit));
  const page = await toPage(scope, rows, limit, ({ name }) => [name], (queue) => ({
    ...present(queue, members.get(queue.name)),
    ...(contents.get(queue.name) ?? UNKNOWN_CONTENTS),
  }));
  return c.json(page, 200);
});

queues.openapi(get, async (c) => {
  const world = queueWorld(c);
  const queue = valueOf(await requireQueue(world, c.req.valid("param").queue));
  const members = await listMembersOf(world.db, world.tenantId, [queue.name]);
  const contents = valueOf(await queueContents(world, queue, Date.now()));
  return c.json({ ...present(queue, members.get(queue.name)), ...contents }, 200);
});

queues.openapi(remove, async (c) => {
  const ifUnused = c.req.valid("query").ifUnused === "true";
  const queue = valueOf(await removeQueue(registryWorld(c), c.req.valid("param").queue, { ifUnused }));
  await discardContents(queueWorld(c), queue);
  return c.body(null, 204);
});

queues.openapi(purge, async (c) => {
  valueOf(await purgeQueue(queueWorld(c), c.req.valid("param").queue));
  return c.body(null, 204);
});

queues.openapi(redrive, async (c) => {
  const { queue } = c.req.valid("param");
  const redriven = valueOf(await redriveQueue(queueWorld(c), queue));
  c.executionCtx.waitUntil(recallToMembers(c.env, c.get("principal").tenantId, queue));
  return c.json(redriven, 202);
});

const UNKNOWN_CONTENTS = { depth: null, oldestAgeSeconds: null, inFlight: null, dead: null };

function queueWorld(c: Context<AppEnv>): QueueWorld {
  return {
    ...registryWorld(c),
    mailbox: openMailbox(c.env, c.get("config")),
    streamOf: (stream) => streamStub(c.env.STREAMS, stream),
  };
}

function present(queue: StoredQueue, members: readonly Receiver[] = []) {
  return { ...viewQueue(queue), members: [...members] };
}

/** What is in each queue, by name; without those whose mailbox does not answer. */
async function contentsOf(world: QueueWorld, rows: readonly StoredQueue[]): Promise<Map<string, QueueContents>> {
  const contents = new Map<string, QueueContents>();
  const queues = rows.values();
  const readNext = async (): Promise<void> => {
    for (const queue of queues) {
      const read = await queueContents(world, queue, Date.now());
      if (read.ok) contents.set(queue.name, read.value);
    }
  };
  await Promise.all(Array.from({ length: DEPTHS_AT_ONCE }, readNext));
  return contents;
}
