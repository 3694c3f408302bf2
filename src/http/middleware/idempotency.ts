import type { Context } from "hono";
import { createMiddleware } from "hono/factory";
import { z } from "zod";
import { fromBase64, toBase64 } from "../../crypto/base64.ts";
import { sha256Hex } from "../../crypto/digest.ts";
import { describeError, log } from "../../log.ts";
import { detectMode } from "../../messages/cloudevents.ts";
import { claimKey, completeKey, type KeyUse, releaseKey } from "../../storage/idempotency.ts";
import { MAX_BATCH_BYTES, maxBytes } from "../publish-request.ts";
import { readBody } from "../read-body.ts";
import { type AppEnv, fail } from "../router.ts";
import { MAX_STREAM_BODY_BYTES } from "../stream-request.ts";

const VISIBLE_ASCII = /^[\x21-\x7e]{1,255}$/;
const MESSAGE_HEADER = /^(?:postern-attribute|ce)-/;
const STREAM_PATH = "/v1/stream/";
const BATCH_PATH = "/v1/batch";
/** Sealed and in base 64 twice it stays below D1's 2 MB for a row. */
const MAX_RESPONSE_BYTES = 768 * 1024;
const RETRY_AFTER_SECONDS = "1";
/** Answers that the asker mends and tries again with the same key: nothing was done yet. */
const NOT_STORED: ReadonlySet<number> = new Set([401, 403, 408, 409, 413, 429]);

const Stored = z.object({
  status: z.number().int(),
  contentType: z.string().nullable(),
  location: z.string().nullable(),
  body: z.string(),
});
type StoredResponse = z.infer<typeof Stored>;

/**
 * A POST with an `Idempotency-Key` runs once in 24 h: its repeats get the first response, another request with the
 * key 422, a repeat while it runs 409. A failure of ours is not kept, so that a repeat runs again. Without the
 * header nothing is read. Runs after authentication; the asker's scopes are part of what must be the same, so that
 * a token never gets an answer it could not have asked for.
 */
export const idempotency = createMiddleware<AppEnv>(async (c, next) => {
  const key = c.req.header("idempotency-key");
  if (key === undefined || c.req.method !== "POST") return next();
  const { tenantId } = c.get("principal");
  const use = { tenantId, keyHash: await sha256Hex(`${tenantId}\n${checkedKey(key)}`), startedAtMs: Date.now() };
  const claimed = await claimKey(c.env.DB, use, await requestHash(c));
  if (claimed.state === "claimed") {
    c.set("idempotencyKeyHash", use.keyHash);
    await next();
    return keep(c, use);
  }
  if (!claimed.sameRequest) {
    return fail({ code: "idempotency-mismatch", detail: "Send this request with an Idempotency-Key of its own." });
  }
  if (claimed.state === "running") {
    return fail({
      code: "request-in-progress",
      detail: "Wait for the first request with this Idempotency-Key to end, then ask again.",
      headers: { "retry-after": RETRY_AFTER_SECONDS },
    });
  }
  return replay(await c.get("keyRing").open(claimed.sealedResponse, sealContext(use)));
});

function checkedKey(key: string): string {
  if (VISIBLE_ASCII.test(key)) return key;
  return fail({
    code: "invalid-request",
    detail: "Mend the listed fields and send the request again.",
    errors: [{ pointer: "header:idempotency-key", detail: "Must be 1 to 255 visible ASCII characters." }],
  });
}

/** Reads the body, which is small enough to hold, and puts it back for the route. */
async function requestHash(c: Context<AppEnv>): Promise<string> {
  const { pathname, search } = new URL(c.req.url);
  const limitBytes = maxBytesOf(pathname, c.req.raw.headers);
  const body = await readBody(c.req.raw, limitBytes);
  if (body === null) {
    return fail({ code: "payload-too-large", detail: `Send a body of at most ${limitBytes} bytes.` });
  }
  c.req.raw = new Request(c.req.raw, { body });
  const { scopes } = c.get("principal");
  const contentType = c.req.header("content-type") ?? "";
  return sha256Hex(
    JSON.stringify([
      c.req.method, pathname, search, contentType, messageHeaders(c.req.raw.headers), [...scopes].sort(), await sha256Hex(body),
    ]),
  );
}

/** Those that are part of a message: with others it is another one. */
function messageHeaders(headers: Headers): [name: string, value: string][] {
  return [...headers].filter(([name]) => MESSAGE_HEADER.test(name)).sort(([left], [right]) => (left < right ? -1 : 1));
}

/** As much as the route itself would read. */
function maxBytesOf(pathname: string, headers: Headers): number {
  if (pathname.startsWith(STREAM_PATH)) return MAX_STREAM_BODY_BYTES;
  return pathname === BATCH_PATH ? MAX_BATCH_BYTES : maxBytes(detectMode(headers));
}

/** Keeps the response or lets the key go; a failure to do so costs the client a wait, never its response. */
async function keep(c: Context<AppEnv>, use: KeyUse): Promise<void> {
  try {
    const response = isFinal(c.res.status) ? await capture(c.res) : null;
    if (response === null) return await releaseKey(c.env.DB, use);
    const sealed = await c.get("keyRing").seal(JSON.stringify(response), sealContext(use));
    return await completeKey(c.env.DB, use, sealed);
  } catch (thrown) {
    log("error", "idempotency key not settled", { requestId: c.get("requestId"), error: describeError(thrown) });
  }
}

function isFinal(status: number): boolean {
  return status < 500 && !NOT_STORED.has(status);
}

async function capture(response: Response): Promise<StoredResponse | null> {
  const body = new Uint8Array(await response.clone().arrayBuffer());
  if (body.byteLength > MAX_RESPONSE_BYTES) return null;
  const { status, headers } = response;
  return { status, contentType: headers.get("content-type"), location: headers.get("location"), body: toBase64(body) };
}

function replay(text: string): Response {
  const { status, contentType, location, body } = Stored.parse(JSON.parse(text));
  const headers = new Headers({ "idempotency-replayed": "true" });
  if (contentType !== null) headers.set("content-type", contentType);
  if (location !== null) headers.set("location", location);
  const bytes = fromBase64(body);
  return new Response(bytes === null || bytes.length === 0 ? null : bytes, { status, headers });
}

function sealContext(use: KeyUse): string {
  return `${use.tenantId}/${use.keyHash}`;
}
