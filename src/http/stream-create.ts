import type { Context } from "hono";
import { isOwnStreamKnown, rememberOwnStream } from "../storage/purges.ts";
import { unitsOf } from "../streams/protocol/content.ts";
import type { CreateRequest, CreateResult, ForkRequest } from "../streams/protocol/contract.ts";
import { formatOffset, parsePosition } from "../streams/protocol/offset.ts";
import { parseStreamPath } from "../streams/protocol/path.ts";
import { durableStreamName, durableStreamStub } from "../streams/protocol/stub.ts";
import { requireRoom } from "./room.ts";
import { type AppEnv, fail } from "./router.ts";
import { TimeInput } from "./schemas.ts";
import { contentTypeOf, header, isClosing, malformed, payloadOf, readStreamBody, STREAM_PREFIX } from "./stream-request.ts";

/** A hundred years. */
const MAX_TTL_SECONDS = 3_155_760_000;
const COUNT = /^(?:0|[1-9][0-9]{0,15})$/;

/** PUT: 201 for a new stream, 200 for one that is there and as asked for (§5.1). */
export async function createStream(c: Context<AppEnv>, path: string): Promise<Response> {
  const { tenantId } = c.get("principal");
  const fork = forkOf(c, tenantId);
  const ttlSeconds = ttlOf(c);
  const expiresAt = expiresAtOf(c);
  if (ttlSeconds !== null && expiresAt !== null) malformed("Send Stream-TTL or Stream-Expires-At, not both.");
  const body = await readStreamBody(c);
  const contentType = contentTypeOf(c);
  const bodyType = contentType ?? (fork === null || body.length === 0 ? undefined : await typeOfSource(c, fork));
  const payload = body.length === 0 ? null : payloadOf(body, bodyType);
  const name = durableStreamName(tenantId, path);
  const request: CreateRequest = {
    name,
    contentType,
    payload: payload === null || unitsOf(payload) === 0 ? null : payload,
    closed: isClosing(c),
    ttlSeconds,
    expiresAt,
    fork,
  };
  await requireRoom(c, "streams", () => isOwnStreamKnown(c.env.DB, tenantId, path));
  // before the stream, so that there is none that nobody knows of
  await rememberOwnStream(c.env.DB, tenantId, path, Date.now());
  const result = await durableStreamStub(c.env.DURABLE_STREAMS, name).create(request);
  // and again, should it have been deleted in between
  if (result.ok && result.created) await rememberOwnStream(c.env.DB, tenantId, path, Date.now());
  return answer(c, result);
}

function answer(c: Context<AppEnv>, result: CreateResult): Response {
  if (!result.ok) return refuse(result.code);
  const { info, created } = result;
  const { origin, pathname } = new URL(c.req.url);
  c.header("content-type", info.contentType);
  c.header("stream-next-offset", formatOffset(info.tail));
  if (created) c.header("location", `${origin}${pathname}`);
  if (info.closed) c.header("stream-closed", "true");
  return c.body(null, created ? 201 : 200);
}

function refuse(code: (CreateResult & { ok: false })["code"]): never {
  switch (code) {
    case "conflict":
      return fail({ code: "conflict", detail: "There is a stream here with another configuration: use it as it is, or another path." });
    case "deleted":
      return fail({ code: "conflict", detail: "The stream here was deleted, but forks still read from it: use another path." });
    case "source-not-found":
      return fail({ code: "not-found", detail: "There is no stream at the path in Stream-Forked-From." });
    case "source-deleted":
      return fail({ code: "conflict", detail: "The stream in Stream-Forked-From was deleted: fork one that is there." });
    case "source-type":
      return fail({ code: "conflict", detail: "A fork has the content type of its source: leave Content-Type out or send that one." });
    case "fork-offset":
      return fail({ code: "malformed-request", detail: "Stream-Fork-Offset with Stream-Fork-Sub-Offset lies beyond the end of the source." });
  }
}

function forkOf(c: Context<AppEnv>, tenantId: string): ForkRequest | null {
  const from = header(c, "stream-forked-from");
  const offset = c.req.header("stream-fork-offset");
  const subOffset = c.req.header("stream-fork-sub-offset");
  if (from === undefined) {
    if (offset !== undefined || subOffset !== undefined) malformed("Say in Stream-Forked-From what is forked.");
    return null;
  }
  const source = from.startsWith(STREAM_PREFIX) ? parseStreamPath(from.slice(STREAM_PREFIX.length)) : null;
  if (source?.kind !== "own") return malformed(`Stream-Forked-From is the path of a stream of your own, such as ${STREAM_PREFIX}drafts/1.`);
  const position = offset === undefined ? null : parsePosition(offset);
  if (offset !== undefined && position === null) malformed("Stream-Fork-Offset is an offset of the source.");
  if (subOffset !== undefined && !COUNT.test(subOffset)) malformed("Stream-Fork-Sub-Offset is a whole number from 0 on.");
  return { source: durableStreamName(tenantId, source.path), position, subOffset: Number(subOffset ?? "0") };
}

/** How the body of a fork is to be read when it does not say so itself. */
async function typeOfSource(c: Context<AppEnv>, { source }: ForkRequest): Promise<string> {
  const head = await durableStreamStub(c.env.DURABLE_STREAMS, source).head();
  return head.ok ? head.info.contentType : refuse(head.code === "deleted" ? "source-deleted" : "source-not-found");
}

function ttlOf(c: Context<AppEnv>): number | null {
  const text = c.req.header("stream-ttl");
  if (text === undefined) return null;
  if (!COUNT.test(text) || Number(text) > MAX_TTL_SECONDS) {
    return malformed(`Stream-TTL is a whole number of seconds from 0 to ${MAX_TTL_SECONDS}, in decimal digits only.`);
  }
  return Number(text);
}

function expiresAtOf(c: Context<AppEnv>): string | null {
  const text = c.req.header("stream-expires-at");
  if (text === undefined) return null;
  return TimeInput.safeParse(text).success ? text : malformed("Stream-Expires-At is an RFC 3339 time such as 2026-11-17T09:30:00Z.");
}
