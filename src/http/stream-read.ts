import type { Context } from "hono";
import { isText, ownBuffer, shown } from "../streams/protocol/content.ts";
import { nextCursor } from "../streams/protocol/cursor.ts";
import { LiveFeed } from "../streams/protocol/live-feed.ts";
import { formatOffset, parseLogOffset, parseOffset, type ReadFrom } from "../streams/protocol/offset.ts";
import type { LogRead, ReadableLog, Since } from "../streams/protocol/readable-log.ts";
import { type AppEnv, fail } from "./router.ts";
import { TimeInput } from "./schemas.ts";
import { failMissing } from "./stream-missing.ts";
import { malformed } from "./stream-request.ts";

type Live = "long-poll" | "sse";
type ReadQuery = { readonly from: ReadFrom | Since; readonly live: Live | null; readonly cursor: string | undefined };
type GoodRead = LogRead & { readonly ok: true };

const LONG_POLL_MS = 15_000;
/** What is not at the tail never changes; what is, is asked for again (§8.1). Never for a shared cache: it is a tenant's. */
const CACHE_FULL = "private, max-age=60, stale-while-revalidate=300";
const CACHE_TAIL = "private, no-cache";

const world = { now: () => Date.now(), random: () => Math.random() };

/** HEAD: what the stream is, and where it ends (§5.5). */
export async function describeStream(c: Context<AppEnv>, log: ReadableLog): Promise<Response> {
  const head = await log.head();
  if (!head.ok) return failMissing(head);
  const { contentType, tail, closed, ttlSeconds, expiresAt } = head.info;
  c.header("content-type", contentType);
  c.header("stream-next-offset", formatOffset(tail));
  c.header("cache-control", "no-store");
  if (closed) c.header("stream-closed", "true");
  if (ttlSeconds !== null) c.header("stream-ttl", String(ttlSeconds));
  if (expiresAt !== null) c.header("stream-expires-at", expiresAt);
  return c.body(null, 200);
}

/** GET: catch-up, long poll or SSE (§5.6 to §5.8). `timed`: whether the log knows times and offsets as publishing returns them. */
export async function readStream(c: Context<AppEnv>, log: ReadableLog, timed: boolean): Promise<Response> {
  const query = parseQuery(c, timed);
  const { from, live } = query;
  const read = await log.read(from, live === "long-poll" ? LONG_POLL_MS : 0);
  if (!read.ok) return refuse(read);
  if (live === "sse") return followStream(c, log, read, query);
  return respond(c, read, query);
}

function parseQuery(c: Context<AppEnv>, timed: boolean): ReadQuery {
  const parameters = new URL(c.req.url).searchParams;
  const offsets = parameters.getAll("offset");
  if (offsets.length > 1) malformed("Send `offset` once.");
  const live = parameters.get("live");
  if (live !== null && live !== "long-poll" && live !== "sse") malformed("`live` is `long-poll` or `sse`.");
  const since = parameters.get("since");
  const cursor = parameters.get("cursor") ?? undefined;
  if (since !== null) return { from: parseSince(since, offsets.length > 0, timed), live, cursor };
  const [offset] = offsets;
  if (offset === undefined && live !== null) malformed("Say with `offset` from where on: `-1` from the beginning, `now` from here.");
  const from = offset === undefined ? "start" : timed ? parseLogOffset(offset) : parseOffset(offset);
  if (from === null) return malformed("`offset` is `-1`, `now`, or the Stream-Next-Offset of an answer from this stream.");
  return { from, live, cursor };
}

function parseSince(text: string, hasOffset: boolean, timed: boolean): Since {
  if (!timed) malformed("Only the logs of topics, queues and nodes know times: use `offset` here.");
  if (hasOffset) malformed("Send `since` or `offset`, not both.");
  const parsed = TimeInput.safeParse(text);
  return parsed.success ? { sinceMs: parsed.data } : malformed("`since` is an RFC 3339 time such as 2026-11-17T09:30:00Z.");
}

function refuse(read: LogRead & { ok: false }): never {
  switch (read.code) {
    case "beyond-head":
      return malformed(`The offset lies beyond the end of the stream, which is ${formatOffset(read.tail)}.`);
    case "trimmed": {
      const earliest = formatOffset(read.earliest);
      return fail({
        code: "gone",
        detail: `What was before ${earliest} is no longer kept: read from there on, or from \`-1\`.`,
        headers: { "stream-earliest-offset": earliest },
      });
    }
    case "not-found":
    case "deleted":
    case "overloaded":
      return failMissing(read);
  }
}

function respond(c: Context<AppEnv>, { info, stretch }: GoodRead, { from, live, cursor }: ReadQuery): Response {
  const atTail = stretch.next === info.tail;
  const isOver = atTail && info.closed;
  c.header("stream-next-offset", formatOffset(stretch.next));
  if (atTail) c.header("stream-up-to-date", "true");
  if (isOver) c.header("stream-closed", "true");
  if (live !== null) c.header("stream-cursor", nextCursor(cursor, world.now(), world.random()));
  if (live !== null && stretch.bytes.length === 0) return c.body(null, 204);
  c.header("content-type", info.contentType);
  if (from === "now") c.header("cache-control", "no-store");
  else {
    const etag = `"${info.incarnation}:${stretch.from}:${stretch.next}${isOver ? ":c" : ""}"`;
    c.header("etag", etag);
    c.header("cache-control", atTail && !isOver ? CACHE_TAIL : CACHE_FULL);
    if (matches(c.req.header("if-none-match"), etag)) {
      c.header("content-type", undefined);
      return c.body(null, 304);
    }
  }
  return c.body(ownBuffer(shown(stretch.bytes, info.contentType)));
}

/** RFC 9110 §13.1.2, with the weak comparison. */
function matches(given: string | undefined, etag: string): boolean {
  if (given === undefined) return false;
  return given.split(",").some((one) => one.trim().replace(/^W\//, "") === etag || one.trim() === "*");
}

function followStream(c: Context<AppEnv>, log: ReadableLog, first: GoodRead, { cursor }: ReadQuery): Response {
  const feed = new LiveFeed(log, first, cursor, world);
  const encoder = new TextEncoder();
  let left = false;
  c.header("content-type", "text/event-stream");
  c.header("cache-control", "no-cache, no-transform");
  if (!isText(first.info.contentType)) c.header("stream-sse-data-encoding", "base64");
  const events = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const next = await feed.next();
      if (left) return;
      if (next === null) controller.close();
      else controller.enqueue(encoder.encode(next));
    },
    cancel() {
      left = true;
    },
  });
  return c.body(events);
}
