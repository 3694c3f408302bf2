import { isolateOf } from "../isolate.ts";
import { newId } from "../ids.ts";
import { attributesFromHeaders } from "../messages/attributes.ts";
import { type Attributes, MAX_BODY_BYTES, type NewMessage } from "../messages/message.ts";
import { publish } from "../messages/publish.ts";
import { isReservedTopic, isTarget } from "../messages/topic.ts";
import { newTraceparent, parseTraceparent } from "../messages/traceparent.ts";
import { fillFromPool } from "../random-pool.ts";
import type { Admitted } from "./admission.ts";
import { type Caller, isAging, knownCaller } from "./callers.ts";
import { admitPublish } from "./middleware/admission.ts";
import { accessLine } from "./middleware/access-log.ts";
import { takeMessages, takeRequest } from "./middleware/rate-limit.ts";
import { headersOf, requestIdOf } from "./middleware/response-headers.ts";
import { problemOf } from "./on-error.ts";
import { PROBLEMS, problemResponse } from "./problem.ts";
import { requirePayload } from "./publish-limits.ts";
import { DEFAULT_CONTENT_TYPE, invalid } from "./publish-request.ts";
import { acceptedBy, presentAppended, publishWorldOf } from "./published.ts";
import { fail, type RateLimitState } from "./router.ts";
import { countRequest } from "./request-counts.ts";

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

async function answer(request: Request, plain: Plain, env: Cloudflare.Env, ctx: ExecutionContext): Promise<Response> {
  const startedAtMs = Date.now();
  const requestId = requestIdOf(plain.headers.get("x-request-id"));
  const { principal, limits } = plain.caller;
  let admitted: Admitted | null = null;
  try {
    admitted = await admitPublish(request, plain.headers.get("content-length"));
    const ofRequests = takeRequest(principal.tenantId, limits, isolateOf(env).config);
    const parsed = attributesFromHeaders(plain.headers);
    const attributes = parsed.ok ? parsed.attributes : fail(invalid(parsed.errors));
    const body = new Uint8Array(await request.arrayBuffer());
    requirePayload(limits, body);
    const rateLimit = takeMessages(principal.tenantId, limits, 1) ?? ofRequests;
    const response = await accept(plain, { attributes, body, requestId, rateLimit, secure: isSecure(request) }, env, ctx);
    countRequest("POST", ROUTE, 202);
    return response;
  } catch (thrown) {
    const problem = problemOf(thrown, requestId);
    const { status } = PROBLEMS[problem.code];
    countRequest("POST", ROUTE, status);
    accessLine({ method: "POST", route: ROUTE, status, startedAtMs, requestId, principal });
    return problemResponse({ ...problem, headers: { ...problem.headers, ...headersOf(requestId, isSecure(request)) } }, requestId);
  } finally {
    admitted?.leave(Date.now());
  }
}

type Received = {
  readonly attributes: Attributes;
  readonly body: Uint8Array;
  readonly requestId: string;
  readonly rateLimit: RateLimitState;
  readonly secure: boolean;
};

async function accept(
  { topic, headers, caller }: Plain,
  { attributes, body, requestId, rateLimit, secure }: Received,
  env: Cloudflare.Env,
  ctx: ExecutionContext,
): Promise<Response> {
  const message: NewMessage = {
    id: newId("msg", Date.now()),
    deduplicate: false,
    contentType: headers.get("content-type") ?? DEFAULT_CONTENT_TYPE,
    attributes,
    traceparent: parseTraceparent(headers.get("traceparent") ?? null) ?? newTraceparent(fillFromPool),
    body,
  };
  const world = publishWorldOf(env, (promise) => ctx.waitUntil(promise));
  const [appended] = await acceptedBy(requestId, publish(world, caller.principal.tenantId, topic, [message]));
  if (appended === undefined) throw new Error("a stream answered an append of one message with none");
  return new Response(JSON.stringify(presentAppended({ kind: "topics", name: topic }, appended)), {
    status: 202,
    headers: {
      "content-type": "application/json",
      "ratelimit-policy": rateLimit.policy,
      ratelimit: rateLimit.state,
      ...headersOf(requestId, secure),
    },
  });
}

function isSecure({ url }: Request): boolean {
  return url.startsWith("https:");
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
