import { z } from "@hono/zod-openapi";
import { fromBase64 } from "../crypto/base64.ts";
import { parseAttributes } from "../messages/attributes.ts";
import { checkJson, decodeString, scanElements, scanMembers } from "../messages/json-members.ts";
import { MAX_BODY_BYTES } from "../messages/message.ts";
import type { Address } from "../messages/address.ts";
import { isTarget, parseQueueMethod } from "../messages/topic.ts";
import type { FieldError } from "./problem.ts";
import { invalid, MAX_BATCH_BYTES, MAX_BATCH_MESSAGES, type SentMessage, tooLarge } from "./publish-request.ts";
import { readBody } from "./read-body.ts";
import { fail } from "./router.ts";

const ADDRESS_POINTER = /^\/messages\/[0-9]+\/(?:topic|command|node)$/;
const JSON_TYPE = /^application\/(?:[\w.+-]+\+)?json$/i;

/** The fields of one message of a batch but `data`, whose bytes are taken from the text as they are. */
const BatchMessage = z
  .strictObject({
    topic: z.string().optional().openapi({ description: "An event: the topic it is published on", example: "orders.completed" }),
    command: z.string().optional().openapi({ description: "A command: `queue/method`", example: "invoices/print" }),
    node: z.string().optional().openapi({ description: "A direct message: the node it is for", example: "till.7" }),
    data: z
      .unknown()
      .optional()
      .openapi({ description: "A string is sent as its text, any other JSON value as the bytes it has here" }),
    dataBase64: z.string().optional().openapi({ description: "The bytes, instead of `data`" }),
    contentType: z
      .string()
      .regex(/^[\x21-\x7e][\x20-\x7e]{0,254}$/, "must be a media type in printable ASCII")
      .optional()
      .openapi({ description: "Default: `text/plain; charset=utf-8` for a string, else `application/json`; `application/octet-stream` for `dataBase64`" }),
    attributes: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).optional(),
    id: z.string().min(1).max(1024).optional().openapi({ description: "De-duplicates on its topic, command or node for 24 h" }),
  })
  .openapi("BatchMessage");

/** For the OpenAPI document; the route reads the text itself, so that no byte of `data` is written anew (I4). */
export const BatchBody = z.strictObject({ messages: z.array(BatchMessage).min(1).max(MAX_BATCH_MESSAGES) }).openapi("Batch");

/** One message with where it goes; `pointer` names that in the request. */
export type BatchEntry = { readonly address: Address; readonly pointer: string; readonly message: SentMessage };

/** Reads a batch and checks all of it before anything is accepted. Ends in a problem that names every broken field. */
export async function readBatch(request: Request): Promise<BatchEntry[]> {
  const type = (request.headers.get("content-type") ?? "").split(";", 1)[0]?.trim() ?? "";
  if (!JSON_TYPE.test(type)) {
    fail({ code: "unsupported-media-type", detail: "Send the batch as JSON with `content-type: application/json`." });
  }
  const bytes = await readBody(request, MAX_BATCH_BYTES);
  if (bytes === null) fail(tooLarge(MAX_BATCH_BYTES));
  const text = decodeUtf8(bytes);
  const spans = messageSpans(text);
  if (spans.length === 0 || spans.length > MAX_BATCH_MESSAGES) {
    fail(invalid([{ pointer: "/messages", detail: `must hold 1 to ${MAX_BATCH_MESSAGES} messages, not ${spans.length}` }]));
  }
  const errors: FieldError[] = [];
  const entries = spans.map((span, index) => readEntry(span, `/messages/${index}`, errors));
  if (errors.length > 0) {
    const targetsOnly = errors.every(({ pointer }) => ADDRESS_POINTER.test(pointer));
    fail(targetsOnly ? { ...invalid(errors), code: "malformed-target" } : invalid(errors));
  }
  return entries.filter((entry) => entry !== null);
}

function decodeUtf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch (error) {
    if (error instanceof TypeError) return fail({ code: "malformed-json", detail: "The body is not valid UTF-8." });
    throw error;
  }
}

const NO_BATCH = invalid([{ pointer: "", detail: "must be an object with the one field `messages`" }]);

/** The text of each element of `messages`. */
function messageSpans(text: string): string[] {
  const scanned = scanMembers(text);
  if (!scanned.ok) {
    if (checkJson(text).ok) fail(NO_BATCH);
    fail({ code: "malformed-json", detail: `At character ${scanned.position}: ${scanned.detail}.` });
  }
  const unknown = scanned.members.filter(({ key }) => key !== "messages");
  const [member, second] = scanned.members.filter(({ key }) => key === "messages");
  if (unknown.length > 0 || member === undefined || second !== undefined) {
    fail(NO_BATCH);
  }
  const array = text.slice(member.start, member.end);
  const elements = scanElements(array);
  if (!elements.ok) fail(invalid([{ pointer: "/messages", detail: "must be an array" }]));
  return elements.elements.map(({ start, end }) => array.slice(start, end));
}

function readEntry(text: string, pointer: string, errors: FieldError[]): BatchEntry | null {
  const scanned = scanMembers(text);
  if (!scanned.ok) {
    errors.push({ pointer, detail: "must be an object" });
    return null;
  }
  const data = scanned.members.find(({ key }) => key === "data");
  const parsed = BatchMessage.safeParse(JSON.parse(text));
  for (const key of scanned.duplicateKeys) errors.push({ pointer: `${pointer}/${key}`, detail: "comes twice" });
  if (!parsed.success) {
    for (const issue of parsed.error.issues) {
      errors.push({ pointer: [pointer, ...issue.path.map(String)].join("/"), detail: issue.message });
    }
    return null;
  }
  const fields = parsed.data;
  const raw = data === undefined ? null : text.slice(data.start, data.end);
  const payload = readPayload(raw, fields.dataBase64, pointer, errors);
  const sent = Object.entries(fields.attributes ?? {}).map(([name, value]) => [name, String(value)] as const);
  const attributes = parseAttributes(sent, (name) => `${pointer}/attributes/${name}`);
  if (!attributes.ok) errors.push(...attributes.errors);
  const to = readAddress(fields, pointer, errors);
  if (to === null || payload === null || !attributes.ok) return null;
  const { contentType = payload.defaultType } = fields;
  return {
    ...to,
    message: { chosenId: fields.id ?? null, contentType, attributes: attributes.attributes, body: payload.body },
  };
}

const NOT_A_NAME = "must be dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters";
const NOT_A_COMMAND = "must be queue/method, with a method of A-Z a-z 0-9 _";

function readAddress(
  fields: z.infer<typeof BatchMessage>,
  pointer: string,
  errors: FieldError[],
): Pick<BatchEntry, "address" | "pointer"> | null {
  const { topic, command, node } = fields;
  const [only, second] = Object.entries({ topic, command, node }).filter(([, value]) => value !== undefined);
  if (only === undefined || second !== undefined) {
    errors.push({ pointer, detail: "must have exactly one of `topic`, `command` and `node`" });
    return null;
  }
  const address = addressOf({ topic, command, node });
  const own = `${pointer}/${only[0]}`;
  if (address !== null) return { address, pointer: own };
  errors.push({ pointer: own, detail: command === undefined ? NOT_A_NAME : NOT_A_COMMAND });
  return null;
}

function addressOf({ topic, command, node }: { topic?: string | undefined; command?: string | undefined; node?: string | undefined }): Address | null {
  if (command !== undefined) {
    const target = parseQueueMethod(command);
    return target === null ? null : { kind: "queues", name: target.queue, method: target.method };
  }
  const name = topic ?? node ?? "";
  if (!isTarget(name)) return null;
  return { kind: topic === undefined ? "nodes" : "topics", name };
}

type Payload = { readonly body: Uint8Array; readonly defaultType: string };

function readPayload(raw: string | null, base64: string | undefined, pointer: string, errors: FieldError[]): Payload | null {
  if ((raw === null) === (base64 === undefined)) {
    errors.push({ pointer, detail: "must have either `data` or `dataBase64`" });
    return null;
  }
  const payload = base64 === undefined ? jsonPayload(raw ?? "null") : base64Payload(base64);
  if (payload === null) errors.push({ pointer: `${pointer}/dataBase64`, detail: "must be base64" });
  else if (payload.body.length > MAX_BODY_BYTES) fail(tooLarge(MAX_BODY_BYTES));
  return payload;
}

function jsonPayload(raw: string): Payload {
  const encoder = new TextEncoder();
  if (raw.startsWith('"')) return { body: encoder.encode(decodeString(raw)), defaultType: "text/plain; charset=utf-8" };
  return { body: encoder.encode(raw), defaultType: "application/json" };
}

function base64Payload(text: string): Payload | null {
  const body = fromBase64(text);
  return body === null ? null : { body, defaultType: "application/octet-stream" };
}
