import { z } from "zod";
import { fromBase64, toBase64 } from "../crypto/base64.ts";
import { MAX_INLINE_BYTES, type TakenMessage } from "./claim-check.ts";
import type { BoxMessage } from "./mailbox.ts";

/** The text of a message in Amazon SQS: the envelope of §3. Other programs read it there too. */
const Envelope = z.object({
  id: z.string(),
  topic: z.string(),
  stream: z.string(),
  offset: z.number().int().nonnegative(),
  time: z.iso.datetime({ offset: true }),
  contentType: z.string(),
  attributes: z.record(z.string(), z.string()),
  event: z.record(z.string(), z.string()).optional(),
  answerBy: z.iso.datetime({ offset: true }).optional(),
  data: z.string().optional(),
  dataBase64: z.string().optional(),
  contentRef: z.object({ stream: z.string(), offset: z.number().int().nonnegative() }).optional(),
});

export type EncodedEnvelope = { readonly text: string; readonly bytes: number };

// A byte order mark is content: it must come out again.
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
const utf8 = new TextEncoder();

/** `{id, topic, stream, offset, time, contentType, attributes, event?, data | dataBase64 | contentRef}` as JSON. */
export function encodeEnvelope(message: BoxMessage): EncodedEnvelope {
  if (message.body.length <= MAX_INLINE_BYTES) {
    const inline = encode(message, inlineContent(message.body));
    if (inline.bytes <= MAX_INLINE_BYTES) return inline;
  }
  return encode(message, { contentRef: { stream: message.stream, offset: message.offset } });
}

/** The message of an envelope; null for what is none. */
export function parseEnvelope(text: string): Omit<TakenMessage, "receiveCount" | "handle"> | null {
  const envelope = Envelope.safeParse(parseJson(text));
  if (!envelope.success) return null;
  const { time, event, answerBy, data, dataBase64, contentRef, ...rest } = envelope.data;
  const body = bodyOf({ data, dataBase64, contentRef });
  if (body === undefined) return null;
  return {
    ...rest,
    timeMs: Date.parse(time),
    ...(event === undefined ? {} : { event }),
    ...(answerBy === undefined ? {} : { answerByMs: Date.parse(answerBy) }),
    body,
  };
}

function encode(message: BoxMessage, content: object): EncodedEnvelope {
  const { id, topic, stream, offset, timeMs, contentType, attributes, event, answerByMs } = message;
  const answerBy = answerByMs === undefined ? undefined : new Date(answerByMs).toISOString();
  const time = new Date(timeMs).toISOString();
  const text = escapeForSqs(JSON.stringify({ id, topic, stream, offset, time, contentType, attributes, event, answerBy, ...content }));
  return { text, bytes: utf8.encode(text).length };
}

/**
 * SQS takes the characters of XML 1.0, which lack U+FFFE and U+FFFF, and some that speak its protocol take no
 * character beyond U+FFFF. In JSON either can be written as an escape.
 */
function escapeForSqs(json: string): string {
  return json.replace(/[\ud800-\udfff\ufffe\uffff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16)}`);
}

/** Text where the bytes are valid UTF-8, which decodes and encodes to the same bytes; base 64 where they are not. */
function inlineContent(body: Uint8Array): { data: string } | { dataBase64: string } {
  try {
    return { data: strictUtf8.decode(body) };
  } catch {
    return { dataBase64: toBase64(body) }; // not UTF-8
  }
}

type Content = Pick<z.infer<typeof Envelope>, "data" | "dataBase64" | "contentRef">;

/** Null when it is in the stream, undefined when it is nowhere. */
function bodyOf({ data, dataBase64, contentRef }: Content): Uint8Array | null | undefined {
  if (data !== undefined) return utf8.encode(data);
  if (dataBase64 !== undefined) return fromBase64(dataBase64) ?? undefined;
  return contentRef === undefined ? undefined : null;
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // no envelope is undefined, so the caller finds it is none
  }
}
