import type { Context } from "hono";
import { DEFAULT_CONTENT_TYPE, isJsonMode, ownBuffer, parseJsonPayload, type Payload } from "../streams/protocol/content.ts";
import type { ProducerRequest } from "../streams/protocol/contract.ts";
import { PATH_GRAMMAR, parseStreamPath, type StreamPath } from "../streams/protocol/path.ts";
import { readBody } from "./read-body.ts";
import { type AppEnv, fail } from "./router.ts";

/** One append, or the first content of a stream. */
export const MAX_STREAM_BODY_BYTES = 16 * 1024 * 1024;

export const STREAM_PREFIX = "/v1/stream/";
const CONTENT_TYPE = /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+(?:\s*;.*)?$/;
const INTEGER = /^[0-9]{1,16}$/;
const MAX_PRODUCER_ID = 256;

/** What the path of the request names, or 400. */
export function requirePath(c: Context<AppEnv>): StreamPath {
  const { pathname } = new URL(c.req.url);
  return parseStreamPath(pathname.slice(STREAM_PREFIX.length)) ?? fail({ code: "malformed-target", detail: PATH_GRAMMAR });
}

export function malformed(detail: string): never {
  return fail({ code: "malformed-request", detail });
}

/** The header's value; undefined also where it is empty. */
export function header(c: Context<AppEnv>, name: string): string | undefined {
  const value = c.req.header(name)?.trim();
  return value === "" ? undefined : value;
}

/** The content type, where it is one. */
export function contentTypeOf(c: Context<AppEnv>): string | null {
  const value = header(c, "content-type");
  return value !== undefined && CONTENT_TYPE.test(value) ? value : null;
}

export function isClosing(c: Context<AppEnv>): boolean {
  return header(c, "stream-closed")?.toLowerCase() === "true";
}

export async function readStreamBody(c: Context<AppEnv>): Promise<Uint8Array> {
  const body = await readBody(c.req.raw, MAX_STREAM_BODY_BYTES);
  return body ?? fail({ code: "payload-too-large", detail: `Send at most ${MAX_STREAM_BODY_BYTES} bytes at once.` });
}

/** The body as what is to be stored, or 400. */
export function payloadOf(body: Uint8Array, contentType: string = DEFAULT_CONTENT_TYPE): Payload {
  if (!isJsonMode(contentType)) return { bytes: ownBuffer(body), lengths: null };
  const parsed = parseJsonPayload(body);
  return parsed.ok ? parsed.payload : malformed(parsed.detail);
}

/** The three headers of an idempotent producer, together or not at all (§5.2.1). */
export function producerOf(c: Context<AppEnv>): ProducerRequest | null {
  const values = ["producer-id", "producer-epoch", "producer-seq"].map((name) => c.req.header(name));
  if (values.every((value) => value === undefined)) return null;
  const [id, epoch, seq] = values;
  if (id === undefined || epoch === undefined || seq === undefined) {
    return malformed("Send Producer-Id, Producer-Epoch and Producer-Seq together.");
  }
  if (id.trim() === "" || id.length > MAX_PRODUCER_ID) return malformed(`Producer-Id has 1 to ${MAX_PRODUCER_ID} characters.`);
  return { id, epoch: integer("Producer-Epoch", epoch), seq: integer("Producer-Seq", seq) };
}

function integer(name: string, text: string): number {
  const value = INTEGER.test(text) ? Number(text) : Number.NaN;
  return Number.isSafeInteger(value) ? value : malformed(`${name} is a whole number from 0 to 2^53 - 1.`);
}
