import type { Published } from "./bus.ts";
import type { Answered } from "./call.ts";
import type { Message, Settled } from "./consume.ts";
import { contentOf } from "./content.ts";
import { type FieldError, isGatewayCode, PosternProblem } from "./errors.ts";
import { fromBase64 } from "../crypto/base64.ts";

/** What the gateway says, parsed; an answer that is not what the contract says is the problem `other`. */
type Fields = Readonly<Record<string, unknown>>;

const PROBLEM_TYPE = /^https:\/\/postern\.dev\/problems\/([a-z0-9-]+)$/;

/** An error answer: a problem document (RFC 9457), or whatever stood between the gateway and us had to say. */
export function readProblem(status: number, headers: Headers, bytes: Uint8Array): PosternProblem {
  const body = asFields(parseJson(bytes)) ?? {};
  const code = PROBLEM_TYPE.exec(text(body["type"]) ?? "")?.[1] ?? "";
  return new PosternProblem({
    code: isGatewayCode(code) ? code : "other",
    status,
    detail: text(body["detail"]) ?? `an answer with status ${status} and no problem document`,
    errors: list(body["errors"]).flatMap(readFieldError),
    instance: text(body["instance"]),
    retryAfterSeconds: readRetryAfter(headers.get("retry-after"), Date.now()),
  });
}

/** `Retry-After` (RFC 9110 §10.2.3) in seconds from now; null when there is none that can be read. */
export function readRetryAfter(value: string | null, nowMs: number): number | null {
  if (value === null) return null;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  const atMs = Date.parse(value);
  return Number.isNaN(atMs) ? null : Math.max(0, Math.ceil((atMs - nowMs) / 1000));
}

export function readPublished(answered: Answered): Published {
  return publishedOf(parseJson(answered.bytes)) ?? unexpected(answered);
}

/** Exactly `count` results, in order. */
export function readPublishedBatch(answered: Answered, count: number): readonly Published[] {
  const results = list(asFields(parseJson(answered.bytes))?.["results"]).map(publishedOf);
  const published = results.filter((result) => result !== null);
  return published.length === count ? published : unexpected(answered);
}

export type PulledWire = { readonly message: Message; readonly receipt: string };

export function readMessages(answered: Answered): readonly PulledWire[] {
  const sent = asFields(parseJson(answered.bytes))?.["messages"];
  const messages = list(sent).map(pulledOf);
  const pulled = messages.filter((message) => message !== null);
  return Array.isArray(sent) && pulled.length === messages.length ? pulled : unexpected(answered);
}

/** What became of each of the receipts, in their order. */
export function readSettled(answered: Answered, receipts: readonly string[]): readonly Settled[] {
  const results = new Map<string, Settled>();
  for (const sent of list(asFields(parseJson(answered.bytes))?.["results"])) {
    const { receipt, ok, error } = asFields(sent) ?? {};
    if (typeof receipt === "string") results.set(receipt, ok === true ? { ok } : { ok: false, error: text(error) ?? "refused" });
  }
  return receipts.map((receipt) => results.get(receipt) ?? unexpected(answered));
}

function publishedOf(value: unknown): Published | null {
  const { id, topic, offset, time, matched } = asFields(value) ?? {};
  if (typeof id !== "string" || typeof topic !== "string" || typeof time !== "string") return null;
  return typeof offset === "number" && typeof matched === "number" ? { id, topic, offset, time, matched } : null;
}

function pulledOf(value: unknown): PulledWire | null {
  const fields = asFields(value) ?? {};
  const { id, topic, offset, time, receiveCount, contentType, receipt } = fields;
  const bytes = bytesOf(fields);
  if (typeof id !== "string" || typeof topic !== "string" || typeof time !== "string" || bytes === null) return null;
  if (typeof offset !== "number" || typeof receiveCount !== "number") return null;
  if (typeof contentType !== "string" || typeof receipt !== "string") return null;
  const message: Message = {
    ...contentOf(contentType, bytes),
    id,
    topic,
    offset,
    time,
    receiveCount,
    attributes: texts(fields["attributes"]),
    event: texts(fields["event"]),
    answerBy: text(fields["answerBy"]),
    queue: text(fields["queue"]),
  };
  return { message, receipt };
}

function texts(value: unknown): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(asFields(value) ?? {}).map(([name, sent]) => [name, String(sent)]));
}

function bytesOf({ data, dataBase64 }: Fields): Uint8Array | null {
  if (typeof data === "string") return new TextEncoder().encode(data);
  return typeof dataBase64 === "string" ? fromBase64(dataBase64) : null;
}

function readFieldError(value: unknown): FieldError[] {
  const { pointer, detail } = asFields(value) ?? {};
  return typeof pointer === "string" && typeof detail === "string" ? [{ pointer, detail }] : [];
}

function unexpected({ status }: Answered): never {
  throw new PosternProblem({ code: "other", status, detail: "the answer is not one of this gateway's" });
}

function parseJson(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    return null; // what is no JSON has none of the fields either
  }
}

function asFields(value: unknown): Fields | null {
  return typeof value === "object" && value !== null ? { ...value } : null;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
