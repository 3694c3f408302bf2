import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isTarget, MAX_TARGET_CHARACTERS } from "../../messages/topic.ts";
import {
  type Checkpoint as StoredCheckpoint, deleteCheckpoint, findCheckpoint, listCheckpoints, listCheckpointsOf, saveCheckpoint,
} from "../../storage/consumer-offsets.ts";
import { formatOffset, parseLogOffset, parseOffset } from "../../streams/protocol/offset.ts";
import { PATH_GRAMMAR, parseStreamPath } from "../../streams/protocol/path.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeCursor, toPage } from "../pagination.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";
import { malformedOffset, OffsetInput } from "./replay.ts";

const NameParam = z.object({ name: z.string().openapi({ param: { name: "name", in: "path" }, example: "billing" }) });
const OffsetParams = NameParam.extend({
  stream: z.string().openapi({
    param: { name: "stream", in: "path" },
    description: "The path of the stream, as after `/v1/stream/`",
    example: "topics/orders.completed",
  }),
});

const PutOffset = z
  .strictObject({
    offset: OffsetInput.openapi({ description: "Where to go on: a `Stream-Next-Offset`, or the offset of the next message" }),
    expectedOffset: OffsetInput.nullable()
      .optional()
      .openapi({ description: "Only if this is what is saved now, null for nothing: another instance is not overwritten unseen" }),
  })
  .openapi("PutOffset");

const Checkpoint = z
  .object({
    consumer: z.string(),
    stream: z.string().openapi({ example: "topics/orders.completed" }),
    offset: z.string().openapi({ description: "Where to go on: pass it as `offset` to the stream", example: "0000000000000000_0000000000000042" }),
    updatedAt: Time,
  })
  .openapi("Checkpoint");

const CheckpointPosition = z.tuple([z.string(), z.string()]);

const PATH = "/v1/consumers/{name}/offsets/{stream}";
/** A stream's path has slashes. OpenAPI has no parameter that takes them, so the document has the routes without. */
const routed = { path: "/v1/consumers/{name}/offsets/{stream{.+}}", hide: true } as const;
const tags = ["Consumers"];

const putRoute = createRoute({
  method: "put",
  path: PATH,
  tags,
  summary: "Save where a consumer goes on",
  description: "The name is the consumer's own choice. That the stream exists, or reaches so far, is not checked here.",
  middleware: [requireScope("consume")] as const,
  request: { params: OffsetParams, body: jsonBody(PutOffset) },
  responses: {
    200: jsonResponse(Checkpoint, "Saved"),
    ...problemResponses("malformed-target", "conflict", "invalid-request", "limit-reached"),
  },
});

const getRoute = createRoute({
  method: "get",
  path: PATH,
  tags,
  summary: "Read where a consumer goes on",
  middleware: [requireScope("consume", "read")] as const,
  request: { params: OffsetParams },
  responses: { 200: jsonResponse(Checkpoint, "The checkpoint"), ...problemResponses("malformed-target", "not-found") },
});

const removeRoute = createRoute({
  method: "delete",
  path: PATH,
  tags,
  summary: "Forget where a consumer goes on",
  middleware: [requireScope("consume")] as const,
  request: { params: OffsetParams },
  responses: { 204: { description: "Forgotten" }, ...problemResponses("malformed-target", "not-found") },
});

const listRoute = createRoute({
  method: "get",
  path: "/v1/consumers",
  tags,
  summary: "List the checkpoints of all consumers",
  middleware: [requireScope("consume", "read")] as const,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(Checkpoint), "By consumer and stream"), ...problemResponses("invalid-cursor") },
});

const listOneRoute = createRoute({
  method: "get",
  path: "/v1/consumers/{name}/offsets",
  tags,
  summary: "List the checkpoints of a consumer",
  middleware: [requireScope("consume", "read")] as const,
  request: { params: NameParam, query: Page },
  responses: { 200: jsonResponse(pageOf(Checkpoint), "By stream"), ...problemResponses("malformed-target", "invalid-cursor") },
});

export const consumers = createRouter();

consumers.openapi(listRoute, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  return c.json(await pageOfCheckpoints(c, null, limit, cursor), 200);
});

consumers.openapi(listOneRoute, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  return c.json(await pageOfCheckpoints(c, requireConsumer(c.req.valid("param").name), limit, cursor), 200);
});

for (const documented of [putRoute, getRoute, removeRoute]) consumers.openAPIRegistry.registerPath(documented);

consumers.openapi({ ...putRoute, ...routed }, async (c) => {
  const key = requireKey(c);
  const { offset, expectedOffset } = c.req.valid("json");
  const position = requirePosition(key.stream, offset, "/offset");
  const expected = typeof expectedOffset === "string" || typeof expectedOffset === "number"
    ? requirePosition(key.stream, expectedOffset, "/expectedOffset")
    : expectedOffset;
  const checkpoint = { ...key, position, updatedAtMs: Date.now() };
  const { tenantId } = c.get("principal");
  await requireRoom(c, "consumers", async () => (await findCheckpoint(c.env.DB, tenantId, key.consumer, key.stream)) !== null);
  const saved = await saveCheckpoint(c.env.DB, tenantId, checkpoint, expected);
  if (saved !== null) return c.json(present(saved), 200);
  return fail({
    code: "conflict",
    detail: "Another instance saved something else meanwhile: read the checkpoint, and go on from there.",
    errors: [{ pointer: "/expectedOffset", detail: "is not what is saved now" }],
  });
});

consumers.openapi({ ...getRoute, ...routed }, async (c) => {
  const { consumer, stream } = requireKey(c);
  const found = await findCheckpoint(c.env.DB, c.get("principal").tenantId, consumer, stream);
  return c.json(present(found ?? failUnknown()), 200);
});

consumers.openapi({ ...removeRoute, ...routed }, async (c) => {
  const { consumer, stream } = requireKey(c);
  if (!(await deleteCheckpoint(c.env.DB, c.get("principal").tenantId, consumer, stream))) failUnknown();
  return c.body(null, 204);
});

async function pageOfCheckpoints(c: Context<AppEnv>, consumer: string | null, limit: number, cursor: string | undefined) {
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: `consumers:${consumer ?? ""}` };
  const position = await decodeCursor(scope, cursor);
  const after = position === undefined ? (["", ""] as const) : CheckpointPosition.parse(position);
  const rows =
    consumer === null
      ? await listCheckpoints(c.env.DB, tenantId, { after, limit: limit + 1 })
      : await listCheckpointsOf(c.env.DB, tenantId, consumer, { afterStream: after[1], limit: limit + 1 });
  return toPage(scope, rows, limit, (row) => [row.consumer, row.stream], present);
}

/** The consumer, and the stream under the one spelling of its path. */
function requireKey(c: Context<AppEnv>): { consumer: string; stream: string } {
  const [, , , name = "", , ...path] = new URL(c.req.url).pathname.split("/");
  const parsed = parseStreamPath(path.join("/"));
  if (parsed === null) return fail({ code: "malformed-target", detail: PATH_GRAMMAR });
  return { consumer: requireConsumer(name), stream: parsed.kind === "own" ? parsed.path : `${parsed.log}/${parsed.name}` };
}

function requireConsumer(name: string): string {
  if (isTarget(name)) return name;
  const detail = `A consumer's name is dot-separated parts of A-Z a-z 0-9 _ -, at most ${MAX_TARGET_CHARACTERS} characters.`;
  return fail({ code: "malformed-target", detail });
}

/** A checkpoint is a place: the beginning is one, `now` is not. */
function requirePosition(stream: string, offset: number | string, pointer: string): number {
  const isLog = parseStreamPath(stream)?.kind === "log";
  const parsed = isLog ? parseLogOffset(String(offset)) : parseOffset(String(offset));
  if (parsed === "start") return 0;
  return typeof parsed === "number" ? parsed : malformedOffset(pointer);
}

function failUnknown(): never {
  return fail({ code: "not-found", detail: "This consumer has saved no offset of this stream." });
}

function present({ consumer, stream, position, updatedAtMs }: StoredCheckpoint) {
  return { consumer, stream, offset: formatOffset(position), updatedAt: toTime(updatedAtMs) };
}
