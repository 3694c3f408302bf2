import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { releaseResumed } from "../../delivery/release.ts";
import { isolateOf } from "../../isolate.ts";
import { tryPublishOperatorEvents } from "../../operator-events/publish-pending.ts";
import { revealSecret, rotateEndpointSecret } from "../../registry/endpoint-secret.ts";
import { changeEndpointStatus, type Transition } from "../../registry/endpoint-status.ts";
import type { EndpointView } from "../../registry/endpoint-view.ts";
import { type TestAttempt, testEndpoint } from "../../registry/test-endpoint.ts";
import { Endpoint, RotateSecret, TestEndpoint } from "../endpoint-schemas.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { registryWorld, valueOf } from "../registry-world.ts";
import { addressesOf, releaseChanged } from "../release-changed.ts";
import { type AppEnv, createRouter } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, problemResponses, Time, toTime } from "../schemas.ts";

const SECRET_HEADERS = { "cache-control": "no-store" };

const Secret = z.object({ secret: z.string() }).openapi("Secret");

const secret = createRoute({
  method: "get",
  path: "/v1/endpoints/{id}/secret",
  tags: ["Endpoints"],
  summary: "Get the signing secret",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(Secret, "The current secret"), ...problemResponses("not-found") },
});

const RotatedSecret = z
  .object({ secret: z.string(), previousExpiresAt: Time.openapi({ description: "Until then the one before signs too" }) })
  .openapi("RotatedSecret");

const rotate = createRoute({
  method: "post",
  path: "/v1/endpoints/{id}/secret/rotate",
  tags: ["Endpoints"],
  summary: "Rotate the signing secret",
  description: "During the overlap both secrets sign, so that the subscriber can change over without a failure.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(RotateSecret) },
  responses: { 200: jsonResponse(RotatedSecret, "The new secret"), ...problemResponses("not-found", "invalid-request") },
});

function transitionRoute<Action extends Transition>(action: Action, summary: string, description: string) {
  return createRoute({
    method: "post",
    path: `/v1/endpoints/{id}/${action}`,
    tags: ["Endpoints"],
    summary,
    description,
    middleware: [requireScope("manage")] as const,
    request: { params: IdParam },
    responses: { 200: jsonResponse(Endpoint, "The endpoint as it is now"), ...problemResponses("not-found") },
  });
}

const pause = transitionRoute("pause", "Pause an endpoint", "Its messages wait; none is lost.");
const resume = transitionRoute("resume", "Resume a paused endpoint", "What waited flows.");
const enable = transitionRoute("enable", "Enable a disabled endpoint", "Clears why it was disabled; what waited flows.");

const TestAttempt = z
  .object({
    id: z.string(),
    time: Time,
    statusCode: z.number().int().nullable(),
    durationMs: z.number(),
    error: z.string().nullable().openapi({ description: "`code: what happened`; null after a success" }),
    responseBody: z.string().openapi({ description: "The first 4 KiB" }),
    ok: z.boolean(),
  })
  .openapi("TestAttempt");

const test = createRoute({
  method: "post",
  path: "/v1/endpoints/{id}/test",
  tags: ["Endpoints"],
  summary: "Send one example now",
  description: "Signed as any message, in no stream and not retried; also while the endpoint is paused or disabled.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(TestEndpoint) },
  responses: {
    200: jsonResponse(TestAttempt, "The attempt, whether it succeeded or not"),
    ...problemResponses("malformed-target", "not-found", "conflict", "invalid-request"),
  },
});

export const endpointActions = createRouter();

endpointActions.openapi(secret, async (c) => {
  const value = valueOf(await revealSecret(registryWorld(c), c.req.valid("param").id));
  return c.json({ secret: value }, 200, SECRET_HEADERS);
});

endpointActions.openapi(rotate, async (c) => {
  const outcome = await rotateEndpointSecret(registryWorld(c), c.req.valid("param").id, c.req.valid("json"));
  const rotated = valueOf(outcome);
  const previousExpiresAt = toTime(rotated.previousExpiresAtMs);
  return c.json({ secret: rotated.secret, previousExpiresAt }, 200, SECRET_HEADERS);
});

endpointActions.openapi(pause, async (c) => c.json(await transit(c, c.req.valid("param").id, "pause"), 200));
endpointActions.openapi(resume, async (c) => c.json(await transit(c, c.req.valid("param").id, "resume"), 200));
endpointActions.openapi(enable, async (c) => c.json(await transit(c, c.req.valid("param").id, "enable"), 200));

endpointActions.openapi(test, async (c) => {
  const outcome = await testEndpoint(registryWorld(c), isolateOf(c.env).world, c.req.valid("param").id, c.req.valid("json"));
  return c.json(presentAttempt(valueOf(outcome)), 200);
});

async function transit(c: Context<AppEnv>, id: string, transition: Transition): Promise<EndpointView> {
  const world = registryWorld(c);
  const before = await addressesOf(c, id);
  const { endpoint, changed } = valueOf(await changeEndpointStatus(world, id, transition));
  if (changed) releaseChanged(c, id, before);
  if (changed && transition !== "pause") {
    c.executionCtx.waitUntil(releaseResumed(c.env, world.tenantId, id, Date.now()));
  }
  if (changed && transition === "enable") c.executionCtx.waitUntil(tryPublishOperatorEvents(c.env));
  return endpoint;
}

function presentAttempt(record: TestAttempt) {
  const { error } = record;
  return {
    id: record.id,
    time: toTime(record.startedAtMs),
    statusCode: record.statusCode,
    durationMs: record.durationMs,
    error: error === null ? null : `${error.code}: ${error.detail}`,
    responseBody: record.responseBody,
    ok: error === null,
  };
}
