import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { isolateOf } from "../../isolate.ts";
import { askAndRelease, releaseAllowed } from "../../registry/due-handshakes.ts";
import { grantByCallback, type HandshakeWorld } from "../../registry/handshake.ts";
import { findEndpoint } from "../../storage/endpoints.ts";
import { findHandshake, type Handshake } from "../../storage/handshakes.ts";
import { clientIp } from "../audit-trail.ts";
import { HandshakeStatus } from "../endpoint-schemas.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonResponse, problemResponses, Time, toTime } from "../schemas.ts";

const HandshakeBody = z
  .object({
    status: HandshakeStatus,
    allowedRatePerMinute: z.number().int().nullable().openapi({ description: "Null for no limit of the receiver's" }),
    requests: z.number().int().openapi({ description: "How often it was asked for this URL" }),
    requestedAt: Time.nullable(),
    nextRequestAt: Time.nullable().openapi({ description: "When it is asked again; null: not by itself" }),
    detail: z.string().nullable().openapi({ description: "Why the last answer was no permission" }),
  })
  .openapi("Handshake");

const tags = ["Endpoints"];

const get = createRoute({
  method: "get",
  path: "/v1/endpoints/{id}/handshake",
  tags,
  summary: "Show the handshake of an endpoint",
  middleware: [requireScope("manage", "read")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(HandshakeBody, "How far it is"), ...problemResponses("not-found", "conflict") },
});

const ask = createRoute({
  method: "post",
  path: "/v1/endpoints/{id}/handshake",
  tags,
  summary: "Ask the receiver for permission now",
  description: "Answers with what came of it, within some ten seconds. One that was allowed already is asked for its rate again.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(HandshakeBody, "How far it is now"), ...problemResponses("not-found", "conflict") },
});

const KeyParam = z.object({ key: z.string().max(128).openapi({ param: { name: "key", in: "path" } }) });
const callbackHeaders = z.object({
  "webhook-allowed-rate": z.string().optional().openapi({ description: "Requests a minute, or `*`" }),
});

function callbackRoute<Method extends "get" | "post">(method: Method) {
  return createRoute({
    method,
    path: "/handshakes/{key}",
    tags,
    summary: "Allow deliveries",
    description:
      "For the receiver, which got this URL as `WebHook-Request-Callback` and needs no token. It is good once, for a week, " +
      "and for the URL that was asked.",
    security: [],
    request: { params: KeyParam, headers: callbackHeaders },
    responses: {
      200: jsonResponse(z.object({ status: z.literal("allowed") }), "Deliveries are allowed"),
      ...problemResponses("malformed-request", "not-found"),
    },
  });
}
const callbackByGet = callbackRoute("get");
const callbackByPost = callbackRoute("post");

export const handshakes = createRouter();

handshakes.openapi(get, async (c) => c.json(present(await requireHandshake(c, c.req.valid("param").id)), 200));

handshakes.openapi(ask, async (c) => {
  const { id: endpointId } = c.req.valid("param");
  await requireHandshake(c, endpointId);
  await askAndRelease(c.env, handshakeWorld(c), { tenantId: c.get("principal").tenantId, endpointId }, false);
  return c.json(present(await requireHandshake(c, endpointId)), 200);
});

handshakes.openapi(callbackByGet, async (c) => c.json(await grant(c, c.req.valid("param").key), 200));
handshakes.openapi(callbackByPost, async (c) => c.json(await grant(c, c.req.valid("param").key), 200));

/** What asks receivers, as this request may: its keys, its way out. */
export function handshakeWorld(c: Context<AppEnv>): HandshakeWorld {
  return { db: c.env.DB, keyRing: c.get("keyRing"), attempts: isolateOf(c.env).world };
}

async function requireHandshake(c: Context<AppEnv>, endpointId: string): Promise<Handshake> {
  const { tenantId } = c.get("principal");
  const found = await findHandshake(c.env.DB, tenantId, endpointId);
  if (found !== null) return found;
  if ((await findEndpoint(c.env.DB, tenantId, endpointId)) === null) {
    return fail({ code: "not-found", detail: "There is no endpoint with this id." });
  }
  return fail({ code: "conflict", detail: "The endpoint asks for no handshake: set `handshake` to true first." });
}

/** A key that is not known, was used or has expired is as a path that does not exist. */
async function grant(c: Context<AppEnv>, key: string): Promise<{ status: "allowed" }> {
  const rate = c.req.header("webhook-allowed-rate") ?? null;
  const granted = await grantByCallback(c.env.DB, { key, rate, requestId: c.get("requestId"), ip: clientIp(c) }, Date.now());
  if (granted.ok) {
    c.executionCtx.waitUntil(releaseAllowed(c.env, granted.handshake));
    return { status: "allowed" };
  }
  if (granted.code === "no-such-callback") {
    return fail({ code: "not-found", detail: "There is nothing at this path: see /docs for those there are." });
  }
  return fail({
    code: "malformed-request",
    detail: "Mend the header and send the request again: it was not counted.",
    errors: [{ pointer: "header:webhook-allowed-rate", detail: "Must be `*` or a whole number above 0, in requests a minute." }],
  });
}

function present(handshake: Handshake): z.input<typeof HandshakeBody> {
  const { status, allowedRate, requests, requestedAtMs, nextRequestAtMs, detail } = handshake;
  return {
    status,
    allowedRatePerMinute: allowedRate,
    requests,
    requestedAt: requestedAtMs === null ? null : toTime(requestedAtMs),
    nextRequestAt: nextRequestAtMs === null ? null : toTime(nextRequestAtMs),
    detail,
  };
}
