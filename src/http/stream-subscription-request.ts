import type { Context } from "hono";
import type { z } from "@hono/zod-openapi";
import { isolateOf } from "../isolate.ts";
import { checkPushUrl } from "../delivery/address-guard.ts";
import { isJsonMode } from "../streams/protocol/content.ts";
import { parseOffset } from "../streams/protocol/offset.ts";
import { PATH_GRAMMAR, parseStreamPath } from "../streams/protocol/path.ts";
import { durableStreamName, durableStreamStub } from "../streams/protocol/stub.ts";
import type { Ack, SubscriptionConfig, SubscriptionRef, WakeChannel } from "../streams/subscriptions/contract.ts";
import { parseStreamPattern, type StreamPattern } from "../streams/subscriptions/pattern.ts";
import { type AppEnv, fail } from "./router.ts";
import type { PutSubscription, WakeAck } from "./stream-subscription-schemas.ts";

const ID = /^[A-Za-z0-9_][A-Za-z0-9._~:-]{0,127}$/;

/** The subscription the path names, or 400. */
export function requireSubscription(c: Context<AppEnv>, id: string): SubscriptionRef {
  if (ID.test(id)) return { tenantId: c.get("principal").tenantId, id };
  return fail({
    code: "malformed-target",
    detail: "A subscription's id has 1 to 128 of A-Z a-z 0-9 _ . ~ : -, beginning with a letter, a digit or _.",
    error: { code: "INVALID_REQUEST" },
  });
}

/** What a subscription is to be, in the one spelling of it, or the problem with it. */
export async function requireConfig(c: Context<AppEnv>, body: z.infer<typeof PutSubscription>): Promise<SubscriptionConfig> {
  const pattern = body.pattern === undefined || body.pattern === null ? null : requirePattern(body.pattern);
  const streams = requirePaths(body.streams ?? []);
  const channel = body.type === "webhook" ? requireWebhook(c, body.webhook?.url ?? "") : await requireWakeStream(c, body.wake_stream ?? "");
  const isOwn = channel.type === "pull-wake" && streams.includes(channel.wakeStream);
  if (isOwn) refuseTarget("/streams", "The stream that wakes are written to can not be one of those that cause them.");
  return { channel, pattern: pattern?.text ?? null, streams, leaseMs: body.lease_ttl_ms, description: body.description ?? null };
}

/** Paths of own streams, sorted and each once. */
export function requirePaths(texts: readonly string[]): string[] {
  return [...new Set(texts.map((text, index) => requireOwnPath(text, `/streams/${index}`)))].sort();
}

/** The path of an own stream in the one spelling of it. */
export function requireOwnPath(text: string, pointer: string): string {
  const parsed = parseStreamPath(text);
  if (parsed?.kind === "own") return parsed.path;
  const detail = parsed === null
    ? PATH_GRAMMAR
    : "The logs of topics, queues and nodes wake nobody here: create an endpoint for their messages, or read them live.";
  return refuseTarget(pointer, detail);
}

export function requireAcks(acks: z.infer<typeof WakeAck>["acks"]): Ack[] {
  return acks.map(({ stream, offset }, index) => {
    const parsed = parseOffset(offset);
    const position = parsed === "start" ? 0 : parsed;
    if (typeof position === "number") return { path: requireOwnPath(stream, `/acks/${index}/stream`), position };
    const detail = "Must be an offset of the stream, such as the tail_offset that the wake showed.";
    return invalidOffset(index, detail);
  });
}

export function invalidOffset(index: number, detail: string): never {
  return fail({
    code: "malformed-request",
    detail: "Mend the offset and send the request again.",
    errors: [{ pointer: `/acks/${index}/offset`, detail }],
    error: { code: "INVALID_OFFSET" },
  });
}


function requirePattern(text: string): StreamPattern {
  const parsed = parseStreamPattern(text);
  return parsed.ok ? parsed.pattern : refuseTarget("/pattern", parsed.detail);
}

function requireWebhook(c: Context<AppEnv>, text: string): WakeChannel {
  const checked = checkPushUrl(text, isolateOf(c.env).world);
  if (checked.ok) return { type: "webhook", url: checked.url.href };
  return fail({
    code: "webhook-url-rejected",
    detail: checked.detail,
    errors: [{ pointer: "/webhook/url", detail: checked.detail }],
    error: { code: "WEBHOOK_URL_REJECTED" },
  });
}

/** It need not be there yet, but what is there must be able to take a wake. */
async function requireWakeStream(c: Context<AppEnv>, text: string): Promise<WakeChannel> {
  const wakeStream = requireOwnPath(text, "/wake_stream");
  const head = await durableStreamStub(c.env.DURABLE_STREAMS, durableStreamName(c.get("principal").tenantId, wakeStream)).head();
  if (head.ok && !isJsonMode(head.info.contentType)) {
    fail({
      code: "conflict",
      detail: `Wakes are JSON, but the stream at wake_stream has the content type ${head.info.contentType}: name another.`,
      error: { code: "INVALID_REQUEST" },
    });
  }
  return { type: "pull-wake", wakeStream };
}

function refuseTarget(pointer: string, detail: string): never {
  return fail({
    code: "malformed-target",
    detail: "Mend the path or pattern and send the request again.",
    errors: [{ pointer, detail }],
    error: { code: "INVALID_REQUEST" },
  });
}
