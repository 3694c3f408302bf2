import { newId } from "../ids.ts";
import { fillFromPool } from "../random-pool.ts";
import { attributesFromHeaders } from "../messages/attributes.ts";
import { type CloudEventsMode, detectMode, parseBatch, parseBinary, type ParsedEvents, parseStructured } from "../messages/cloudevents.ts";
import { type Attributes, type EventContext, MAX_BODY_BYTES, type NewMessage } from "../messages/message.ts";
import { messageIdFor } from "../messages/message-id.ts";
import { newTraceparent, parseTraceparent } from "../messages/traceparent.ts";
import type { Problem } from "./problem.ts";
import { readBody } from "./read-body.ts";
import { fail } from "./router.ts";

/** Room for the envelope and base 64 around 1 MiB of data, and for a batch of events. */
const MAX_ENVELOPE_BYTES = 2 * 1024 * 1024;
export const MAX_BATCH_BYTES = 5 * 1024 * 1024;
export const MAX_BATCH_MESSAGES = 500;
export const DEFAULT_CONTENT_TYPE = "application/octet-stream";

/** One message as sent, before it gets an id. */
export type SentMessage = {
  readonly chosenId: string | null;
  readonly contentType: string;
  readonly attributes: Attributes;
  readonly event?: EventContext;
  readonly body: Uint8Array;
};

/** What makes ids and traces for the messages of one request. */
export type Identify = {
  /** Of the request's `Idempotency-Key`: gives its messages the same ids again. */
  readonly idempotencyKeyHash: string | undefined;
  /** Keeps chosen ids apart from the same ones elsewhere: they become ids of ours, the events keep theirs. */
  readonly idScope?: string;
  readonly traceparent: string | null;
  readonly nowMs: number;
};

/** Reads a publish: any bytes, or CloudEvents in one of their modes; ends in a problem when it is malformed. */
export async function readPublish(request: Request): Promise<{ batched: boolean; messages: SentMessage[] }> {
  const mode = detectMode(request.headers);
  if (mode === "unsupported") {
    fail({ code: "unsupported-media-type", detail: "Send CloudEvents in the JSON format: application/cloudevents+json." });
  }
  const body = await readBody(request, maxBytes(mode));
  if (body === null) fail(tooLarge(maxBytes(mode)));
  const attributes = attributesFromHeaders(request.headers);
  if (!attributes.ok) fail(invalid(attributes.errors));
  if (mode === "none") {
    const contentType = request.headers.get("content-type") ?? DEFAULT_CONTENT_TYPE;
    return { batched: false, messages: [{ chosenId: null, contentType, attributes: attributes.attributes, body }] };
  }
  const parsed = parseEvents(mode, request.headers, body);
  if (!parsed.ok) fail(parsed.code === "malformed-json" ? { code: parsed.code, detail: parsed.detail } : invalid(parsed.errors));
  if (parsed.events.length === 0 || parsed.events.length > MAX_BATCH_MESSAGES) {
    fail(invalid([{ pointer: "", detail: `must hold 1 to ${MAX_BATCH_MESSAGES} events` }]));
  }
  for (const event of parsed.events) if (event.body.length > MAX_BODY_BYTES) fail(tooLarge(MAX_BODY_BYTES));
  return {
    batched: mode === "batch",
    messages: parsed.events.map(({ id, event, contentType, body: data }) => ({
      chosenId: id,
      contentType,
      attributes: attributes.attributes,
      event,
      body: data,
    })),
  };
}

/** Gives messages their ids: the chosen one, one of the idempotency key, or a new one. */
export async function identify(sent: readonly SentMessage[], by: Identify): Promise<NewMessage[]> {
  const parent = parseTraceparent(by.traceparent);
  return Promise.all(
    sent.map(async ({ chosenId, contentType, attributes, event, body }, index): Promise<NewMessage> => {
      const stableId = scopedId(chosenId, by.idScope) ?? idOfKey(by.idempotencyKeyHash, index);
      const id = stableId === null ? newId("msg", by.nowMs, fillFromPool) : await messageIdFor(stableId);
      const context = chosenId !== null && id !== chosenId ? { ...event, id: chosenId } : event;
      return {
        id,
        deduplicate: stableId !== null,
        contentType,
        attributes,
        ...(context === undefined ? {} : { event: context }),
        traceparent: parent ?? newTraceparent(fillFromPool),
        body,
      };
    }),
  );
}

function scopedId(chosenId: string | null, scope: string | undefined): string | null {
  return chosenId === null || scope === undefined ? chosenId : `${scope} ${chosenId}`;
}

function idOfKey(keyHash: string | undefined, index: number): string | null {
  return keyHash === undefined ? null : `key ${keyHash} ${index}`;
}

function parseEvents(mode: Exclude<CloudEventsMode, "none" | "unsupported">, headers: Headers, body: Uint8Array): ParsedEvents {
  switch (mode) {
    case "binary":
      return parseBinary(headers, body);
    case "structured":
      return parseStructured(body);
    case "batch":
      return parseBatch(body);
  }
}

/** How much of a publish is read. */
export function maxBytes(mode: CloudEventsMode): number {
  if (mode === "batch") return MAX_BATCH_BYTES;
  return mode === "structured" ? MAX_ENVELOPE_BYTES : MAX_BODY_BYTES;
}

export function tooLarge(limitBytes: number): Problem {
  return { code: "payload-too-large", detail: `Send at most ${limitBytes} bytes; store more elsewhere and send a reference.` };
}

export function invalid(errors: Problem["errors"]): Problem {
  return { code: "invalid-request", detail: "Mend the listed fields and send the request again.", errors: errors ?? [] };
}
