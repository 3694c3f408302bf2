import { isolateOf } from "../isolate.ts";
import { newId } from "../ids.ts";
import { attributesFromHeaders } from "../messages/attributes.ts";
import { MAX_BODY_BYTES, type NewMessage } from "../messages/message.ts";
import { publish } from "../messages/publish.ts";
import { isReservedTopic, isTarget } from "../messages/topic.ts";
import { newTraceparent, parseTraceparent } from "../messages/traceparent.ts";
import { fillFromPool } from "../random-pool.ts";
import { type Caller, isAging, knownCaller } from "./callers.ts";
import { answerInLane } from "./lane.ts";
import { takeMessages, takeRequest } from "./middleware/rate-limit.ts";
import { requirePayload } from "./publish-limits.ts";
import { DEFAULT_CONTENT_TYPE, invalid } from "./publish-request.ts";
import { acceptedBy, presentAppended, publishWorldOf } from "./published.ts";
import { fail } from "./router.ts";

const ROUTE = "/v1/events/:topic";
const PATH = "/v1/events/";

/** A plain publish, before its body is read. */
type Plain = { readonly topic: string; readonly headers: ReadonlyMap<string, string>; readonly caller: Caller };

/**
 * Publishes a plain event: any bytes of a known length, from a caller who was settled within the last second. Nearly
 * everything that a busy gateway is asked is of this kind, so it is answered from the same parts as the route
 * `POST /v1/events/{topic}`, in the same order, without what a framework does for each request. Null for all that is
 * not as plain as this: CloudEvents, an `Idempotency-Key`, a chunked body, whatever has to be refused for its form.
 */
export function publishLane(request: Request, env: Cloudflare.Env, ctx: ExecutionContext): Promise<Response> | null {
  const topic = topicOf(request);
  if (topic === null) return null;
  const headers = new Map(request.headers);
  if (!isPlain(headers)) return null;
  const nowMs = Date.now();
  const credentials = { authorization: headers.get("authorization"), tenant: headers.get("postern-tenant") };
  const caller = knownCaller(credentials, nowMs);
  if (caller === null || isAging(credentials, nowMs) || !caller.principal.scopes.has("publish")) return null;
  return answer(request, { topic, headers, caller }, env, ctx);
}

function answer(request: Request, { topic, headers, caller }: Plain, env: Cloudflare.Env, ctx: ExecutionContext): Promise<Response> {
  const { principal, limits } = caller;
  return answerInLane({ request, brings: true, route: ROUTE, headers, principal }, async (state) => {
    state.rateLimit = takeRequest(principal.tenantId, limits, isolateOf(env).config);
    const parsed = attributesFromHeaders(headers);
    const attributes = parsed.ok ? parsed.attributes : fail(invalid(parsed.errors));
    const body = new Uint8Array(await request.arrayBuffer());
    requirePayload(limits, body);
    state.rateLimit = takeMessages(principal.tenantId, limits, 1) ?? state.rateLimit;
    const message: NewMessage = {
      id: newId("msg", Date.now()),
      deduplicate: false,
      contentType: headers.get("content-type") ?? DEFAULT_CONTENT_TYPE,
      attributes,
      traceparent: parseTraceparent(headers.get("traceparent") ?? null) ?? newTraceparent(fillFromPool),
      body,
    };
    const world = publishWorldOf(env, (promise) => ctx.waitUntil(promise));
    const [appended] = await acceptedBy(state.requestId, publish(world, principal.tenantId, topic, [message]));
    if (appended === undefined) throw new Error("a stream answered an append of one message with none");
    return { status: 202, body: JSON.stringify(presentAppended({ kind: "topics", name: topic }, appended)) };
  });
}

function topicOf({ method, url }: Request): string | null {
  if (method !== "POST") return null;
  const start = url.indexOf("/", url.indexOf("//") + 2);
  if (!url.startsWith(PATH, start)) return null;
  const topic = url.slice(start + PATH.length);
  return isTarget(topic) && !isReservedTopic(topic) ? topic : null;
}

function isPlain(headers: ReadonlyMap<string, string>): boolean {
  const length = Number(headers.get("content-length") ?? Number.NaN);
  if (!(length <= MAX_BODY_BYTES) || headers.has("idempotency-key")) return false;
  if (headers.get("content-type")?.toLowerCase().includes("cloudevents") === true) return false;
  for (const name of headers.keys()) if (name.startsWith("ce-")) return false;
  return true;
}
