import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { recordAudit } from "../../storage/audit.ts";
import { DEFAULT_TENANT } from "../../storage/tenants.ts";
import { shownLink } from "../../streams/subscriptions/announce-wake.ts";
import type { SubscriptionApi, SubscriptionRef, SubscriptionView } from "../../streams/subscriptions/contract.ts";
import { subscriptionStub } from "../../streams/subscriptions/stub.ts";
import { wakeJwks } from "../../streams/subscriptions/wake-signature.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, problemResponses, toTime } from "../schemas.ts";
import { requireConfig, requireOwnPath, requirePaths, requireSubscription } from "../stream-subscription-request.ts";
import { PutSubscription, StreamPaths, SubscriptionBody, SubscriptionParam } from "../stream-subscription-schemas.ts";

const PATH = "/v1/stream/__ds/subscriptions/{id}";
const STREAMS = `${PATH}/streams`;
const STREAM = `${STREAMS}/{path}`;
/** A stream's path has slashes, and may come with them encoded. OpenAPI has no parameter that takes them. */
const routedStream = { path: `${STREAMS}/{path{.+}}`, hide: true } as const;
const tags = ["Stream subscriptions"];
/** Each is one step of linking: more than any tenant has streams for. */
const MAX_LINK_STEPS = 5_000;

const put = createRoute({
  method: "put",
  path: PATH,
  tags,
  summary: "Create a subscription to streams",
  description:
    "Durable Streams Protocol §6: durable cursors over streams of your own, and a wake whenever there is something new. Streams " +
    "that exist are linked at their end, those that come later at their beginning. A second PUT that says the same gets 200.",
  middleware: [requireScope("manage")] as const,
  request: { params: SubscriptionParam, body: jsonBody(PutSubscription) },
  responses: {
    201: jsonResponse(SubscriptionBody, "Created"),
    200: jsonResponse(SubscriptionBody, "It is there already, as asked for"),
    ...problemResponses("malformed-target", "webhook-url-rejected", "conflict", "invalid-request", "limit-reached"),
  },
});

const get = createRoute({
  method: "get",
  path: PATH,
  tags,
  summary: "Get a subscription and its cursors",
  middleware: [requireScope("read", "manage")] as const,
  request: { params: SubscriptionParam },
  responses: { 200: jsonResponse(SubscriptionBody, "The subscription"), ...problemResponses("malformed-target", "not-found") },
});

const remove = createRoute({
  method: "delete",
  path: PATH,
  tags,
  summary: "Delete a subscription",
  description: "Nobody is woken any more, and what is still under way moves no cursor.",
  middleware: [requireScope("manage")] as const,
  request: { params: SubscriptionParam },
  responses: { 204: { description: "Deleted" }, ...problemResponses("malformed-target", "not-found") },
});

const addStreams = createRoute({
  method: "post",
  path: STREAMS,
  tags,
  summary: "Add streams to a subscription",
  description: "Linked at their end; one that is linked already stays where it is.",
  middleware: [requireScope("manage")] as const,
  request: { params: SubscriptionParam, body: jsonBody(StreamPaths) },
  responses: { 204: { description: "Added" }, ...problemResponses("malformed-target", "not-found", "invalid-request", "limit-reached") },
});

const removeStream = createRoute({
  method: "delete",
  path: STREAM,
  tags,
  summary: "Remove a stream from a subscription",
  description: "One that the pattern covers as well stays linked by that.",
  middleware: [requireScope("manage")] as const,
  request: {
    params: SubscriptionParam.extend({
      path: z.string().openapi({ param: { name: "path", in: "path" }, description: "The stream's path, encoded once more", example: "events%2Fmanual-a" }),
    }),
  },
  responses: { 204: { description: "Removed, or not there" }, ...problemResponses("malformed-target", "not-found") },
});

export const streamSubscriptions = createRouter({ code: "INVALID_REQUEST" });
streamSubscriptions.openAPIRegistry.registerPath(removeStream);

streamSubscriptions.openapi(put, async (c) => {
  const { ref, stub } = open(c);
  const config = await requireConfig(c, c.req.valid("json"));
  const result = await stub.create(ref, config, new URL(c.req.url).origin);
  if (!result.ok) return refuseCreation(result.code);
  await linkAll(stub);
  const described = await stub.describe();
  if (result.created) await audit(c, "create", ref, { after: config });
  return c.json(await present(c, described.ok ? described.view : result.view), result.created ? 201 : 200);
});

streamSubscriptions.openapi(get, async (c) => {
  const described = await open(c).stub.describe();
  return c.json(await present(c, described.ok ? described.view : failUnknown()), 200);
});

streamSubscriptions.openapi(remove, async (c) => {
  const { ref, stub } = open(c);
  const before = await linkedBy(stub);
  if (!(await stub.remove()).ok) failUnknown();
  await audit(c, "delete", ref, { before });
  return c.body(null, 204);
});

streamSubscriptions.openapi(addStreams, async (c) => {
  const { ref, stub } = open(c);
  const paths = requirePaths(c.req.valid("json").streams);
  const before = await linkedBy(stub);
  const added = await stub.addStreams(paths);
  if (!added.ok) return refuseStreams(added.code);
  await linkAll(stub);
  await audit(c, "add-streams", ref, { before, after: await linkedBy(stub) });
  return c.body(null, 204);
});

streamSubscriptions.openapi({ ...removeStream, ...routedStream }, async (c) => {
  const { ref, stub } = open(c);
  const path = requireOwnPath(encodedPath(c), "path:path");
  const before = await linkedBy(stub);
  if (!(await stub.removeStream(path)).ok) failUnknown();
  await audit(c, "remove-stream", ref, { before, after: await linkedBy(stub) });
  return c.body(null, 204);
});

function open(c: Context<AppEnv>): { readonly ref: SubscriptionRef; readonly stub: SubscriptionApi } {
  const ref = requireSubscription(c, c.req.param("id") ?? "");
  return { ref, stub: subscriptionStub(c.env.STREAM_SUBSCRIPTIONS, ref) };
}

/** Answers once every stream there is now is linked: what is appended after the answer is work. */
async function linkAll(stub: SubscriptionApi): Promise<void> {
  for (let step = 0; step < MAX_LINK_STEPS && (await stub.link()); step++) continue;
}

/** What stands after `/streams/`, decoded once; slashes in it may have been encoded or not. */
function encodedPath(c: Context<AppEnv>): string {
  const { pathname } = new URL(c.req.url);
  const raw = pathname.slice(pathname.indexOf("/streams/", "/v1/stream/__ds/subscriptions/".length) + "/streams/".length);
  try {
    return decodeURIComponent(raw);
  } catch {
    return ""; // a broken percent-encoding: no path
  }
}

/** What the subscription is to, for the audit log: its settings, and the streams it is linked to now. */
async function linkedBy(stub: SubscriptionApi) {
  const described = await stub.describe();
  const { config, links, linkCount } = described.ok ? described.view : failUnknown();
  return { ...config, streams: links.map(({ path }) => path), streamCount: linkCount };
}

function audit(
  c: Context<AppEnv>,
  change: string,
  { id }: SubscriptionRef,
  sides: { readonly before?: unknown; readonly after?: unknown },
): Promise<void> {
  return recordAudit(c.env.DB, auditEntry(c, { action: `stream-subscription.${change}`, target: id, ...sides }));
}

function refuseCreation(code: "exists" | "too-many"): never {
  if (code === "too-many") return failTooMany("The tenant has as many stream subscriptions as it may: delete one first.");
  return fail({
    code: "conflict",
    detail: "There is a subscription with this id that was created otherwise: delete it first, or choose another id.",
    error: { code: "SUBSCRIPTION_ALREADY_EXISTS" },
  });
}

function refuseStreams(code: "too-many" | "wake-stream" | "not-found"): never {
  switch (code) {
    case "not-found":
      return failUnknown();
    case "too-many":
      return failTooMany("The subscription has as many streams of its own as it may: remove some, or use a pattern.");
    case "wake-stream":
      return fail({
        code: "malformed-target",
        detail: "The stream that wakes are written to can not be one of those that cause them.",
        error: { code: "INVALID_REQUEST" },
      });
  }
}

function failTooMany(detail: string): never {
  return fail({ code: "limit-reached", detail, error: { code: "INVALID_REQUEST" } });
}

function failUnknown(): never {
  return fail({ code: "not-found", detail: "There is no subscription with this id.", error: { code: "SUBSCRIPTION_NOT_FOUND" } });
}

async function present(c: Context<AppEnv>, { id, config, createdAtMs, links, linkCount, lastError, nextAttemptAtMs }: SubscriptionView) {
  const { channel, pattern, leaseMs, description } = config;
  return {
    id,
    subscription_id: id,
    type: channel.type,
    pattern,
    streams: links.map(shownLink),
    stream_count: linkCount,
    webhook: channel.type === "webhook" ? { url: channel.url, signing: await signingOf(c) } : null,
    wake_stream: channel.type === "pull-wake" ? channel.wakeStream : null,
    lease_ttl_ms: leaseMs,
    created_at: toTime(createdAtMs),
    status: lastError === null ? ("active" as const) : ("failed" as const),
    last_error: lastError,
    next_attempt_at: nextAttemptAtMs === null ? null : toTime(nextAttemptAtMs),
    description,
  };
}

async function signingOf(c: Context<AppEnv>) {
  const { tenantId } = c.get("principal");
  const [active] = await wakeJwks(c.get("config").encryptionKeys, tenantId);
  const query = tenantId === DEFAULT_TENANT ? "" : `?tenant=${encodeURIComponent(tenantId)}`;
  return { alg: "ed25519" as const, kid: active?.kid ?? "", jwks_url: `${new URL(c.req.url).origin}/v1/stream/__ds/jwks.json${query}` };
}
