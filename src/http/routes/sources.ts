import { createRoute, z } from "@hono/zod-openapi";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { isTarget } from "../../messages/topic.ts";
import { parseTopicArn } from "../../sns/arn.ts";
import { auditStatement } from "../../storage/audit.ts";
import {
  deleteSourceStatement, getTenantSource, listSources, listSubscriptionStates, putSourceStatement, type Source,
  type SourceSubscription,
} from "../../storage/sources.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

const MAX_TOPIC_ARNS = 100;
const TopicArn = z
  .string()
  .refine((text) => parseTopicArn(text) !== null, { error: "Must be the ARN of an SNS topic: arn:aws:sns:<region>:<account>:<name>." })
  .openapi({ example: "arn:aws:sns:eu-central-1:123456789012:orders" });

const fields = {
  name: z.string().trim().min(1).max(128).nullable(),
  topicArns: z
    .array(TopicArn)
    .min(1)
    .max(MAX_TOPIC_ARNS)
    .refine((arns) => new Set(arns).size === arns.length, { error: "Must not name a topic twice." })
    .openapi({ description: "The SNS topics that may push here, exactly" }),
  topic: z
    .string()
    .nullable()
    .openapi({ description: "The topic its messages become events of; null: the SNS topic's own name", example: "orders.completed" }),
  minVersion: z
    .union([z.literal(1), z.literal(2)])
    .openapi({ description: "The lowest SNS signature version that is accepted" }),
};

const NewSource = z
  .strictObject({
    kind: z.literal("sns"),
    topicArns: fields.topicArns,
    topic: fields.topic,
    name: fields.name.default(null),
    minVersion: fields.minVersion.default(1),
  })
  .openapi("NewSource");

const SourceChange = z.strictObject(fields).partial().openapi("SourceChange");

const SourceBody = z
  .object({
    id: z.string().openapi({ example: "src_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    kind: z.literal("sns"),
    ...fields,
    url: z.string().openapi({ description: "Where SNS is to push, below the gateway's own address", example: "/in/src_…" }),
    subscriptions: z
      .array(
        z.object({
          topicArn: z.string(),
          state: z.enum(["pending", "confirmed", "unsubscribed"]),
          subscriptionArn: z.string().nullable(),
          updatedAt: Time.nullable(),
        }),
      )
      .openapi({ description: "What SNS last said about each topic; pending: nothing yet" }),
    createdAt: Time,
    updatedAt: Time,
  })
  .openapi("Source");

const tags = ["Sources"];
const middleware = requireScope("admin");

const create = createRoute({
  method: "post",
  path: "/v1/sources",
  tags,
  summary: "Create a source",
  description: "Then subscribe its `url` to the SNS topics: the gateway confirms the subscriptions by itself.",
  middleware,
  request: { body: jsonBody(NewSource) },
  responses: { 201: jsonResponse(SourceBody, "The source"), ...problemResponses("malformed-target") },
});

const list = createRoute({
  method: "get",
  path: "/v1/sources",
  tags,
  summary: "List sources",
  middleware,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(SourceBody), "A page of sources"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/sources/{id}",
  tags,
  summary: "Show a source",
  middleware,
  request: { params: IdParam },
  responses: { 200: jsonResponse(SourceBody, "The source"), ...problemResponses("not-found") },
});

const change = createRoute({
  method: "patch",
  path: "/v1/sources/{id}",
  tags,
  summary: "Change a source",
  description: "Fields that are left out stay. Answers once every part of the gateway goes by the change.",
  middleware,
  request: { params: IdParam, body: jsonBody(SourceChange) },
  responses: { 200: jsonResponse(SourceBody, "The source"), ...problemResponses("not-found", "malformed-target") },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/sources/{id}",
  tags,
  summary: "Delete a source",
  middleware,
  request: { params: IdParam },
  responses: { 204: { description: "Deleted" }, ...problemResponses("not-found") },
});

export const sources = createRouter();

sources.openapi(create, async (c) => {
  const nowMs = Date.now();
  const source: Source = {
    ...c.req.valid("json"),
    id: newId("src", nowMs),
    tenantId: c.get("principal").tenantId,
    createdAtMs: nowMs,
    updatedAtMs: nowMs,
  };
  requireTopics(source);
  const body = present(source, []);
  await c.env.DB.batch([
    putSourceStatement(c.env.DB, source),
    auditStatement(c.env.DB, auditEntry(c, { action: "source.create", target: source.id, after: body })),
  ]);
  return c.json(body, 201, { location: `/v1/sources/${source.id}` });
});

sources.openapi(list, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "sources" };
  const beforeId = await decodeIdCursor(scope, cursor);
  const rows = await listSources(c.env.DB, tenantId, { limit: limit + 1, beforeId });
  const states = await listSubscriptionStates(c.env.DB, rows.map(({ id }) => id));
  const page = await toPage(scope, rows, limit, ({ id }) => [id], (source) => present(source, states.get(source.id)));
  return c.json(page, 200);
});

sources.openapi(get, async (c) => {
  const source = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  return c.json(await presentWithStates(c.env.DB, source), 200);
});

sources.openapi(change, async (c) => {
  const before = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  const { name, topicArns, topic, minVersion } = c.req.valid("json");
  const after: Source = {
    ...before,
    name: name === undefined ? before.name : name,
    topicArns: topicArns ?? before.topicArns,
    topic: topic === undefined ? before.topic : topic,
    minVersion: minVersion ?? before.minVersion,
    updatedAtMs: Date.now(),
  };
  requireTopics(after);
  const entry = { action: "source.update", target: after.id, before: present(before, []), after: present(after, []) };
  await c.env.DB.batch([
    putSourceStatement(c.env.DB, after),
    auditStatement(c.env.DB, auditEntry(c, entry)),
  ]);
  await untilCachesExpired(Date.now());
  return c.json(await presentWithStates(c.env.DB, after), 200);
});

sources.openapi(remove, async (c) => {
  const source = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  const entry = { action: "source.delete", target: source.id, before: present(source, []) };
  await c.env.DB.batch([
    deleteSourceStatement(c.env.DB, source.id),
    auditStatement(c.env.DB, auditEntry(c, entry)),
  ]);
  await untilCachesExpired(Date.now());
  return c.body(null, 204);
});

async function requireSource(db: D1Database, tenantId: string, id: string): Promise<Source> {
  const source = await getTenantSource(db, tenantId, id);
  return source ?? fail({ code: "not-found", detail: "There is no source of that id." });
}

/** The topic named, or else the name of each SNS topic, must be a target. */
function requireTopics({ topic, topicArns }: Source): void {
  const errors =
    topic !== null
      ? [{ pointer: "/topic", name: topic }]
      : topicArns.map((arn, index) => ({ pointer: `/topicArns/${index}`, name: parseTopicArn(arn)?.name ?? "" }));
  const malformed = errors.filter(({ name }) => !isTarget(name));
  if (malformed.length === 0) return;
  fail({
    code: "malformed-target",
    detail: "Name a topic of dot-separated A-Z, a-z, 0-9, `_` and `-`, at most 128 characters.",
    errors: malformed.map(({ pointer }) => ({ pointer, detail: "Is no name for a topic." })),
  });
}

async function presentWithStates(db: D1Database, source: Source): Promise<z.input<typeof SourceBody>> {
  return present(source, (await listSubscriptionStates(db, [source.id])).get(source.id));
}

function present(source: Source, states: readonly SourceSubscription[] = []): z.input<typeof SourceBody> {
  return {
    id: source.id,
    kind: source.kind,
    name: source.name,
    topicArns: [...source.topicArns],
    topic: source.topic,
    minVersion: source.minVersion,
    url: `/in/${source.id}`,
    subscriptions: source.topicArns.map((topicArn) => {
      const known = states.find((state) => state.topicArn === topicArn);
      if (known === undefined) return { topicArn, state: "pending" as const, subscriptionArn: null, updatedAt: null };
      return { topicArn, state: known.state, subscriptionArn: known.subscriptionArn, updatedAt: toTime(known.updatedAtMs) };
    }),
    createdAt: toTime(source.createdAtMs),
    updatedAt: toTime(source.updatedAtMs),
  };
}
