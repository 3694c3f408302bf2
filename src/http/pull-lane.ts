import type { z } from "@hono/zod-openapi";
import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { isolateOf } from "../isolate.ts";
import type { BoxRef } from "../mailbox/mailbox.ts";
import { checkJson } from "../messages/json-members.ts";
import { type Caller, type Credentials, isAging, isStillAllowed, knownCaller, notAccepted } from "./callers.ts";
import { answerInLane, type LaneState } from "./lane.ts";
import { MAX_JSON_BYTES } from "./middleware/json-body.ts";
import { takeRequest } from "./middleware/rate-limit.ts";
import { endpointBox, type PullCall, queueBox } from "./pull-boxes.ts";
import { receive, settle } from "./pull-calls.ts";
import { AckBody, ReceiveQuery } from "./pull-schemas.ts";

/** What a lane leaves to the framework after it has read the body. */
type Framework = { readonly fetch: (request: Request, env: Cloudflare.Env, ctx: ExecutionContext) => Response | Promise<Response> };

const TARGET = /^https?:\/\/[^/]+\/v1\/(endpoints|queues)\/([A-Za-z0-9_.-]{1,128})\/(messages|ack)(?:\?([^#]*))?$/;
const PARAMETERS = { endpoints: "id", queues: "queue" } as const;
const JSON_TYPE = "application/json";

type Pull = {
  readonly kind: keyof typeof PARAMETERS;
  readonly name: string;
  readonly headers: ReadonlyMap<string, string>;
  readonly credentials: Credentials;
  readonly caller: Caller;
};

/**
 * Receives from, and acknowledges to, one endpoint or queue for a caller who was settled within the last second, as the
 * routes for it do: what a consumer asks all the time. Null for all else, and for what the routes have to refuse for its form.
 */
export function pullLane(request: Request, env: Cloudflare.Env, ctx: ExecutionContext, framework: Framework): Promise<Response> | null {
  const [, kind, name, verb, search] = TARGET.exec(request.url) ?? [];
  if ((kind !== "endpoints" && kind !== "queues") || name === undefined) return null;
  const headers = new Map(request.headers);
  const credentials = { authorization: headers.get("authorization"), tenant: headers.get("postern-tenant") };
  const nowMs = Date.now();
  const caller = knownCaller(credentials, nowMs);
  if (caller === null || isAging(credentials, nowMs)) return null;
  // One that is bound to an endpoint is the routes' to keep to it.
  if (!caller.principal.scopes.has("consume") || caller.principal.binding !== undefined) return null;
  const pull: Pull = { kind, name, headers, credentials, caller };
  if (verb === "messages" && request.method === "GET") {
    const query = queryOf(search ?? "");
    return query === null ? null : receiveInLane(request, pull, query, env, ctx);
  }
  const isAck = verb === "ack" && request.method === "POST" && search === undefined && isPlainJson(headers);
  return isAck ? ackInLane(request, pull, env, ctx, framework) : null;
}

function receiveInLane(request: Request, pull: Pull, query: z.output<typeof ReceiveQuery>, env: Cloudflare.Env, ctx: ExecutionContext): Promise<Response> {
  const { kind, headers, credentials, caller: { principal } } = pull;
  const lane = { request, brings: false, route: `/v1/${kind}/:${PARAMETERS[kind]}/messages`, headers, principal };
  return answerInLane(lane, async (state) => {
    const call = callOf(pull, state, env, ctx);
    const startedAtMs = Date.now();
    const body = await receive({ ...call, request, credentials, severalQueues: false }, [await boxOf(call, pull)], query);
    const isLate = typeof body === "string" && Date.now() - startedAtMs >= CACHE_MAX_AGE_MS;
    if (isLate && !(await isStillAllowed(call, credentials))) notAccepted();
    return { status: 200, body };
  });
}

async function ackInLane(request: Request, pull: Pull, env: Cloudflare.Env, ctx: ExecutionContext, framework: Framework): Promise<Response> {
  const bytes = await request.arrayBuffer();
  const receipts = receiptsOf(bytes);
  // The routes say what is wrong with it.
  if (receipts === null) return framework.fetch(new Request(request.url, { method: "POST", headers: request.headers, body: bytes }), env, ctx);
  const { kind, headers, caller: { principal } } = pull;
  const lane = { request, brings: false, route: `/v1/${kind}/:${PARAMETERS[kind]}/ack`, headers, principal };
  return answerInLane(lane, async (state) => {
    const call = callOf(pull, state, env, ctx);
    const results = await settle(call, receipts, { verb: "ack" }, await boxOf(call, pull));
    return { status: 200, body: JSON.stringify({ results }) };
  });
}

/** Counts the request by its tenant's rate. */
function callOf({ caller: { principal, limits } }: Pull, state: LaneState, env: Cloudflare.Env, ctx: ExecutionContext): PullCall {
  const { tenantId } = principal;
  state.rateLimit = takeRequest(tenantId, limits, isolateOf(env).config);
  return { env, requestId: state.requestId, inBackground: (work) => ctx.waitUntil(work), tenantId };
}

function boxOf(call: PullCall, { kind, name }: Pull): Promise<BoxRef> {
  return kind === "queues" ? queueBox(call, name) : endpointBox(call, name);
}

/** Null where the schema has something to say of it, or a name is there twice. */
function queryOf(search: string): z.output<typeof ReceiveQuery> | null {
  const parameters = [...new URLSearchParams(search)];
  const fields = Object.fromEntries(parameters);
  if (Object.keys(fields).length < parameters.length) return null;
  const query = ReceiveQuery.safeParse(fields);
  return query.success ? query.data : null;
}

function receiptsOf(bytes: ArrayBuffer): readonly string[] | null {
  const text = decodeUtf8(bytes);
  if (text === null || !checkJson(text).ok) return null;
  const body = AckBody.safeParse(JSON.parse(text));
  return body.success ? body.data.receipts : null;
}

function decodeUtf8(bytes: ArrayBuffer): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: false }).decode(bytes);
  } catch {
    return null; // what `fatal` is for
  }
}

function isPlainJson(headers: ReadonlyMap<string, string>): boolean {
  const length = Number(headers.get("content-length") ?? Number.NaN);
  return length <= MAX_JSON_BYTES && headers.get("content-type") === JSON_TYPE && !headers.has("idempotency-key");
}
