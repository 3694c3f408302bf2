import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { releaseEndpoint, releaseResumed } from "../../delivery/release.ts";
import { boxOfEndpoint } from "../../mailbox/box-of.ts";
import { discardBox } from "../../mailbox/discard-box.ts";
import { openMailbox } from "../../mailbox/open-mailbox.ts";
import { changeEndpoint } from "../../registry/change-endpoint.ts";
import { createEndpoint } from "../../registry/create-endpoint.ts";
import { removeEndpoint } from "../../registry/delete-endpoint.ts";
import { askAndRelease } from "../../registry/due-handshakes.ts";
import { type EndpointView, viewEndpoint } from "../../registry/endpoint-view.ts";
import { findEndpoint, listEndpoints } from "../../storage/endpoints.ts";
import { CreatedEndpoint, CreateEndpoint, Endpoint, EndpointStatusName, PatchEndpoint } from "../endpoint-schemas.ts";
import { requireFanOut } from "../fan-out.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { registryWorld, valueOf } from "../registry-world.ts";
import { addressesOf, releaseChanged } from "../release-changed.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses } from "../schemas.ts";
import { handshakeWorld } from "./handshakes.ts";

const create = createRoute({
  method: "post",
  path: "/v1/endpoints",
  tags: ["Endpoints"],
  summary: "Create an endpoint",
  description:
    "`secret` verifies what arrives; it is in this response and at `/secret` only. With `queue` and no `topics`, the " +
    "endpoint is a member of the queue for its commands and queries.",
  middleware: [requireScope("manage")] as const,
  request: { body: jsonBody(CreateEndpoint) },
  responses: {
    201: jsonResponse(CreatedEndpoint, "Created"),
    ...problemResponses("malformed-target", "conflict", "invalid-request", "limit-reached"),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/endpoints",
  tags: ["Endpoints"],
  summary: "List endpoints",
  description: "Newest first.",
  middleware: [requireScope("manage", "read")] as const,
  request: {
    query: Page.extend({
      status: EndpointStatusName.optional(),
      node: z.string().max(128).optional().openapi({ description: "Only the endpoint with this node name" }),
    }),
  },
  responses: { 200: jsonResponse(pageOf(Endpoint), "A page of endpoints"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/endpoints/{id}",
  tags: ["Endpoints"],
  summary: "Get an endpoint",
  middleware: [requireScope("manage", "read")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(Endpoint, "The endpoint"), ...problemResponses("not-found") },
});

const patch = createRoute({
  method: "patch",
  path: "/v1/endpoints/{id}",
  tags: ["Endpoints"],
  summary: "Change an endpoint",
  description:
    "What is left out stays; null clears what may be empty. `topics` is the whole list; `filter` (with its scope) and " +
    "`queue` are set on all of its subscriptions, and `queue` alone makes it a member of the queue.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(PatchEndpoint) },
  responses: {
    200: jsonResponse(Endpoint, "The endpoint as it is now"),
    ...problemResponses("malformed-target", "not-found", "conflict", "invalid-request", "limit-reached"),
  },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/endpoints/{id}",
  tags: ["Endpoints"],
  summary: "Delete an endpoint",
  description:
    "No request to it begins once this has answered; its open deliveries end as `cancelled`, and what it has not pulled " +
    "is gone.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam },
  responses: { 204: { description: "Deleted" }, ...problemResponses("not-found") },
});

export const endpoints = createRouter();

endpoints.openapi(create, async (c) => {
  await requireRoom(c, "endpoints");
  await requireRoom(c, "subscriptions");
  await requireFanOut(c, c.req.valid("json"));
  const { endpoint, secret } = valueOf(await createEndpoint(registryWorld(c), c.req.valid("json")));
  releaseChanged(c, endpoint.id, null);
  askReceiver(c, endpoint);
  return c.json({ ...endpoint, secret }, 201, { location: `/v1/endpoints/${endpoint.id}`, "cache-control": "no-store" });
});

endpoints.openapi(list, async (c) => {
  const { limit, cursor, status, node } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const keyRing = c.get("keyRing");
  const scope = { config: c.get("config"), tenantId, list: "endpoints" };
  const beforeId = await decodeIdCursor(scope, cursor);
  const rows = await listEndpoints(c.env.DB, tenantId, { status, node }, { limit: limit + 1, beforeId });
  const views = await Promise.all(rows.map((row) => viewEndpoint(row, keyRing)));
  return c.json(await toPage(scope, views, limit, (view) => [view.id], (view) => view), 200);
});

endpoints.openapi(get, async (c) => {
  const endpoint = await findEndpoint(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  if (endpoint === null) return fail({ code: "not-found", detail: "There is no endpoint with this id." });
  return c.json(await viewEndpoint(endpoint, c.get("keyRing")), 200);
});

endpoints.openapi(patch, async (c) => {
  const { id } = c.req.valid("param");
  const { topics = [], filter } = c.req.valid("json");
  await requireFanOut(c, { topics, filter });
  const before = await addressesOf(c, id);
  const endpoint = valueOf(await changeEndpoint(registryWorld(c), id, c.req.valid("json")));
  releaseChanged(c, id, before);
  askReceiver(c, endpoint);
  // what waited for a permission that is no longer asked for
  if (c.req.valid("json").handshake === false) {
    c.executionCtx.waitUntil(releaseResumed(c.env, c.get("principal").tenantId, id, Date.now()));
  }
  return c.json(endpoint, 200);
});

endpoints.openapi(remove, async (c) => {
  const { id } = c.req.valid("param");
  const world = registryWorld(c);
  const before = await addressesOf(c, id);
  const { ordered } = valueOf(await removeEndpoint(world, id));
  releaseChanged(c, id, before);
  c.executionCtx.waitUntil(releaseEndpoint(c.env, world.tenantId, id));
  // whatever it is now, it may have had a mailbox once
  const box = boxOfEndpoint({ id, tenantId: world.tenantId, ordered });
  c.executionCtx.waitUntil(discardBox(() => openMailbox(c.env, c.get("config")), box));
  return c.body(null, 204);
});

/** After the response: asks the receiver of an endpoint that wants it asked, unless that is under way. */
function askReceiver(c: Context<AppEnv>, { id: endpointId, handshakeStatus }: EndpointView): void {
  if (handshakeStatus !== "waiting") return;
  const { tenantId } = c.get("principal");
  c.executionCtx.waitUntil(askAndRelease(c.env, handshakeWorld(c), { tenantId, endpointId }, true));
}
