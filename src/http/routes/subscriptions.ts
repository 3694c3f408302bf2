import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import {
  changeSubscription,
  createSubscription,
  removeSubscription,
  type SubscriptionView,
  viewSubscription,
} from "../../registry/subscriptions.ts";
import { findSubscription, listSubscriptions } from "../../storage/subscriptions.ts";
import { EndpointId, FilterPolicy, FilterScopeName, QueueName, TopicPatternText } from "../endpoint-schemas.ts";
import { requireFanOut } from "../fan-out.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { registryWorld, valueOf } from "../registry-world.ts";
import { addressesOf, releaseChanged } from "../release-changed.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time } from "../schemas.ts";

const Topic = TopicPatternText.nullable().openapi({
  description: "A pattern; null, with a `queue`: a member for its commands and queries alone",
});

const CreateSubscription = z
  .strictObject({
    endpointId: EndpointId,
    topic: Topic.default(null),
    filter: FilterPolicy.default(null),
    filterScope: FilterScopeName.default("attributes"),
    queue: QueueName.default(null),
  })
  .openapi("CreateSubscription");

const PatchSubscription = z
  .strictObject({ topic: Topic, filter: FilterPolicy, filterScope: FilterScopeName, queue: QueueName })
  .partial()
  .openapi("PatchSubscription");

const Subscription = z
  .object({
    id: z.string(),
    endpointId: EndpointId,
    topic: z.string().nullable().openapi({ description: "The pattern; null for a member that binds no topic to its queue" }),
    filter: z.record(z.string(), z.unknown()).nullable(),
    filterScope: FilterScopeName,
    queue: z.string().nullable(),
    createdAt: Time,
  })
  .openapi("Subscription");

const create = createRoute({
  method: "post",
  path: "/v1/subscriptions",
  tags: ["Subscriptions"],
  summary: "Subscribe an endpoint",
  description:
    "With `queue`, the endpoint is a member of that queue, which is created where it does not exist, and the messages " +
    "that match go to one of its members.",
  middleware: [requireScope("manage")] as const,
  request: { body: jsonBody(CreateSubscription) },
  responses: {
    201: jsonResponse(Subscription, "Created"),
    ...problemResponses("malformed-target", "not-found", "invalid-request", "limit-reached"),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/subscriptions",
  tags: ["Subscriptions"],
  summary: "List subscriptions",
  description: "Newest first.",
  middleware: [requireScope("manage", "read")] as const,
  request: {
    query: Page.extend({
      endpointId: z.string().max(128).optional().openapi({ description: "Only of this endpoint" }),
      topic: z.string().max(128).optional().openapi({ description: "Only with exactly this pattern" }),
    }),
  },
  responses: { 200: jsonResponse(pageOf(Subscription), "A page of subscriptions"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/subscriptions/{id}",
  tags: ["Subscriptions"],
  summary: "Get a subscription",
  middleware: [requireScope("manage", "read")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(Subscription, "The subscription"), ...problemResponses("not-found") },
});

const patch = createRoute({
  method: "patch",
  path: "/v1/subscriptions/{id}",
  tags: ["Subscriptions"],
  summary: "Change a subscription",
  description: "What is left out stays; null clears `filter`, `queue` and, with a queue, `topic`.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(PatchSubscription) },
  responses: {
    200: jsonResponse(Subscription, "The subscription as it is now"),
    ...problemResponses("malformed-target", "not-found", "invalid-request", "limit-reached"),
  },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/subscriptions/{id}",
  tags: ["Subscriptions"],
  summary: "End a subscription",
  description: "Messages accepted before are still delivered.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam },
  responses: { 204: { description: "Ended" }, ...problemResponses("not-found") },
});

export const subscriptions = createRouter();

subscriptions.openapi(create, async (c) => {
  const input = c.req.valid("json");
  await requireRoom(c, "subscriptions");
  await requireFanOut(c, { topics: input.topic === null ? [] : [input.topic], filter: input.filter });
  const before = await addressesOf(c, input.endpointId);
  const subscription = valueOf(await createSubscription(registryWorld(c), input));
  releaseChanged(c, input.endpointId, before);
  return c.json(subscription, 201, { location: `/v1/subscriptions/${subscription.id}` });
});

subscriptions.openapi(list, async (c) => {
  const { limit, cursor, endpointId, topic } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "subscriptions" };
  const beforeId = await decodeIdCursor(scope, cursor);
  const rows = await listSubscriptions(c.env.DB, tenantId, { endpointId, topic }, { limit: limit + 1, beforeId });
  return c.json(await toPage(scope, rows, limit, (row) => [row.id], viewSubscription), 200);
});

subscriptions.openapi(get, async (c) => {
  return c.json(await requireSubscription(c, c.req.valid("param").id), 200);
});

subscriptions.openapi(patch, async (c) => {
  const { id } = c.req.valid("param");
  const { endpointId } = await requireSubscription(c, id);
  const before = await addressesOf(c, endpointId);
  const { topic, filter } = c.req.valid("json");
  await requireFanOut(c, { topics: topic === undefined || topic === null ? [] : [topic], filter });
  const subscription = valueOf(await changeSubscription(registryWorld(c), id, c.req.valid("json")));
  releaseChanged(c, endpointId, before);
  return c.json(subscription, 200);
});

subscriptions.openapi(remove, async (c) => {
  const { id } = c.req.valid("param");
  const { endpointId } = await requireSubscription(c, id);
  const before = await addressesOf(c, endpointId);
  valueOf(await removeSubscription(registryWorld(c), id));
  releaseChanged(c, endpointId, before);
  return c.body(null, 204);
});

async function requireSubscription(c: Context<AppEnv>, id: string): Promise<SubscriptionView> {
  const row = await findSubscription(c.env.DB, c.get("principal").tenantId, id);
  return row === null ? fail({ code: "not-found", detail: "There is no subscription with this id." }) : viewSubscription(row);
}
