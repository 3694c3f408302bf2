import { z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import { type Address, addressText } from "../messages/address.ts";
import { isKnownQueue } from "../messages/known-queues.ts";
import type { PublishResult, PublishWorld } from "../messages/publish.ts";
import { isMethod, isReservedTopic, isTarget } from "../messages/topic.ts";
import type { Appended } from "../streams/contract.ts";
import { streamStub } from "../streams/stub.ts";
import type { Identify } from "./publish-request.ts";
import { type AppEnv, fail } from "./router.ts";
import { jsonResponse, problemResponses, Time, toTime } from "./schemas.ts";

// What the routes of all verbs say and answer alike.

const Published = z
  .object({
    id: z.string().openapi({ description: "Goes out as `webhook-id`", example: "msg_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    topic: z.string().openapi({ description: "Of a command `queue/method`, of a direct message the node", example: "orders.completed" }),
    offset: z.number().int().openapi({ description: "Its place in the stream of its topic, queue or node, from 0" }),
    time: Time,
    matched: z.number().int().openapi({ description: "Of an event the endpoints and queues it goes to, else 1" }),
  })
  .openapi("Published");
export const PublishedBatch = z.object({ results: z.array(Published) }).openapi("PublishedBatch");

const bytes = { schema: z.string().openapi({ format: "binary" }) };

/** Any bytes: of a request `body`, or of a response. */
export const anyContent = { content: { "*/*": bytes } };

export const publishProblems = problemResponses("malformed-target", "reserved-topic", "payload-too-large", "unsupported-media-type", "overloaded", "unavailable");

export const publishResponses = {
  202: jsonResponse(z.union([Published, PublishedBatch]), "Accepted: on disk, on its way"),
  200: jsonResponse(z.union([Published, PublishedBatch]), "Accepted before under the same id: the first result, no new delivery"),
  ...publishProblems,
};

export const BODY_IS_THE_MESSAGE =
  "The body is the message: any content type, any bytes, up to 1 MiB. Attributes travel as `Postern-Attribute-<name>` " +
  "headers. CloudEvents 1.0 is accepted in binary, structured and batched mode.";

const NAME = "dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters";

/** Ends the request unless the path names one topic or node. */
export function requireName(kind: "topic" | "node", name: string): string {
  return isTarget(name) ? name : malformedTarget(`A ${kind} is ${NAME}.`);
}

const RESERVED = "Topics that begin with `postern` are for the gateway's own events: publish on another one.";

/** Ends the request when a topic is the gateway's own; `pointer` names it where it is not in the path. */
export function requireUnreserved(topics: readonly { readonly name: string; readonly pointer?: string }[]): void {
  const reserved = topics.filter(({ name }) => isReservedTopic(name));
  if (reserved.length === 0) return;
  const errors = reserved.flatMap(({ pointer }) => (pointer === undefined ? [] : [{ pointer, detail: "is reserved" }]));
  fail({ code: "reserved-topic", detail: RESERVED, ...(errors.length === 0 ? {} : { errors }) });
}

/** Ends the request unless the path names a method of a queue that the tenant has. */
export async function requireQueueMethod(
  c: Context<AppEnv>,
  { queue, method }: { readonly queue: string; readonly method: string },
): Promise<{ queue: string; method: string }> {
  if (!isTarget(queue) || !isMethod(method)) {
    malformedTarget(`The target is queue/method: a queue is ${NAME}, a method of A-Z a-z 0-9 _, at most 128 characters.`);
  }
  if (!(await isKnownQueue(c.env.DB, c.get("principal").tenantId, queue, Date.now()))) {
    fail({ code: "unknown-queue", detail: "There is no queue of this name: create it with `PUT /v1/queues/{queue}`." });
  }
  return { queue, method };
}

function malformedTarget(detail: string): never {
  return fail({ code: "malformed-target", detail });
}

/** What a stream answered; ends the request when it took nothing. */
export function requireAccepted(c: Context<AppEnv>, sending: Promise<PublishResult>): Promise<readonly Appended[]> {
  return acceptedBy(c.get("requestId"), sending);
}

export async function acceptedBy(requestId: string, sending: Promise<PublishResult>): Promise<readonly Appended[]> {
  const result = await orUnavailable(requestId, sending, "Nothing was promised: send it again in a moment.");
  if (result.ok) return result.appended;
  return overloaded(result.retryAfterSeconds, "There is no room for more right now: send it again after `Retry-After`.");
}

export function overloaded(retryAfterSeconds: number, detail: string): never {
  return fail({ code: "overloaded", detail, headers: { "retry-after": String(retryAfterSeconds) } });
}

/** D1 or an object that does not answer is nothing the publisher did: 503, and why is in the log. */
export async function orUnavailable<Result>(requestId: string, sending: Promise<Result>, detail: string): Promise<Result> {
  try {
    return await sending;
  } catch (error) {
    log("error", "publish.failed", { requestId, error: describeError(error) });
    return fail({ code: "unavailable", detail, headers: { "retry-after": "2" } });
  }
}

/** The answer to one message, or to a batch of events. */
export function publishAnswer(c: Context<AppEnv>, address: Address, appended: readonly Appended[], batched: boolean) {
  const results = appended.map((one) => presentAppended(address, one));
  const status = appended.every(({ duplicate }) => duplicate) ? 200 : 202;
  const [first] = results;
  return batched || first === undefined ? c.json({ results }, status) : c.json(first, status);
}

export function presentAppended(address: Address, { id, offset, timeMs, matched }: Appended): z.infer<typeof Published> {
  return { id, topic: addressText(address), offset, time: toTime(timeMs), matched };
}

/** What publishing needs, from the Worker's bindings. */
export function publishWorld(c: Context<AppEnv>): PublishWorld {
  return publishWorldOf(c.env, (promise) => c.executionCtx.waitUntil(promise));
}

export function publishWorldOf(env: Cloudflare.Env, inBackground: PublishWorld["inBackground"]): PublishWorld {
  const { routes, sharedAppends, world } = isolateOf(env);
  return {
    db: env.DB,
    routes,
    append: (stream, appends) =>
      sharedAppends.append(stream, appends, { call: (shared) => streamStub(env.STREAMS, stream).append(stream, shared), inBackground }),
    now: world.now,
    inBackground,
  };
}

/** What ids and traces of a request's messages are made of. */
export function requestIdentity(c: Context<AppEnv>): Identify {
  return {
    idempotencyKeyHash: c.get("idempotencyKeyHash"),
    traceparent: c.req.header("traceparent") ?? null,
    nowMs: Date.now(),
  };
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
