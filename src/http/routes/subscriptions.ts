import { createRoute, z } from "@hono/zod-openapi";
import { changeSubscription, createSubscription, removeSubscription, viewSubscription } from "../../registry/subscriptions.ts";
import { findSubscription, listSubscriptions } from "../../storage/subscriptions.ts";
import { EndpointId, FilterPolicy, FilterScopeName, QueueName, TopicPatternText } from "../endpoint-schemas.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { registryWorld, valueOf } from "../registry-world.ts";
import { createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time } from "../schemas.ts";

const CreateSubscription = z
  .strictObject({
    endpointId: EndpointId,
    topic: TopicPatternText,
    filter: FilterPolicy.default(null),
    filterScope: FilterScopeName.default("attributes"),
    queue: QueueName.default(null),
  })
  .openapi("CreateSubscription");

const PatchSubscription = z
  .strictObject({ topic: TopicPatternText, filter: FilterPolicy, filterScope: FilterScopeName, queue: QueueName })
  .partial()
  .openapi("PatchSubscription");

const Subscription = z
  .object({
    id: z.string(),
    endpointId: EndpointId,
    topic: z.string().openapi({ description: "The pattern" }),
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
  middleware: [requireScope("manage")] as const,
  request: { body: jsonBody(CreateSubscription) },
  responses: { 201: jsonResponse(Subscription, "Created"), ...problemResponses("malformed-target", "invalid-request") },
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
  description: "What is left out stays; null clears `filter` and `queue`.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam, body: jsonBody(PatchSubscription) },
  responses: {
    200: jsonResponse(Subscription, "The subscription as it is now"),
    ...problemResponses("malformed-target", "not-found", "invalid-request"),
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
  const subscription = valueOf(await createSubscription(registryWorld(c), c.req.valid("json")));
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
  const row = await findSubscription(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  if (row === null) return fail({ code: "not-found", detail: "There is no subscription with this id." });
  return c.json(viewSubscription(row), 200);
});

subscriptions.openapi(patch, async (c) => {
  const outcome = await changeSubscription(registryWorld(c), c.req.valid("param").id, c.req.valid("json"));
  return c.json(valueOf(outcome), 200);
});

subscriptions.openapi(remove, async (c) => {
  valueOf(await removeSubscription(registryWorld(c), c.req.valid("param").id));
  return c.body(null, 204);
});
