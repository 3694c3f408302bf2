import { createRoute, type z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { auditStatement } from "../../storage/audit.ts";
import { insertSourceSecret, type NewSourceSecret, rotateSourceSecret } from "../../storage/source-secrets.ts";
import { listSubscriptionStates } from "../../storage/source-subscriptions.ts";
import {
  deleteSourceStatements, getTenantSource, listSources, putSourceStatement, type Source, type SourceWithSecrets,
} from "../../storage/sources.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, toTime } from "../schemas.ts";
import { presentSource } from "../source-json.ts";
import { changedSource, requireReadableSecrets, requireSecret, requireTopics } from "../source-rules.ts";
import { NewSource, RotateSourceSecret, SourceBody, SourceChange } from "../source-schemas.ts";

const tags = ["Sources"];
const middleware = requireScope("admin");

const create = createRoute({
  method: "post",
  path: "/v1/sources",
  tags,
  summary: "Create a source",
  description:
    "Then give the sender its `url`. Of SNS, the gateway confirms the subscriptions by itself; every other sender signs " +
    "with the secret, which is kept encrypted and shown nowhere.",
  middleware,
  request: { body: jsonBody(NewSource) },
  responses: { 201: jsonResponse(SourceBody, "The source"), ...problemResponses("malformed-target", "limit-reached") },
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

const rotate = createRoute({
  method: "post",
  path: "/v1/sources/{id}/secret/rotate",
  tags,
  summary: "Rotate a source's secret",
  description: "During the overlap what either secret signed is accepted, so that the sender can change over without a failure.",
  middleware,
  request: { params: IdParam, body: jsonBody(RotateSourceSecret) },
  responses: { 200: jsonResponse(SourceBody, "The source"), ...problemResponses("not-found", "conflict") },
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
  await requireRoom(c, "sources");
  const nowMs = Date.now();
  const input = c.req.valid("json");
  const source = newSource(input, c.get("principal").tenantId, nowMs);
  requireTopics(source);
  const secrets: NewSourceSecret[] = [];
  if (source.kind !== "sns" && input.kind !== "sns") {
    requireSecret(source, input.secret);
    secrets.push(await sealSecret(c, input.secret, nowMs));
  }
  const body = presentSource({ source, secrets: secrets.map((secret) => ({ ...secret, expiresAtMs: null })) });
  await c.env.DB.batch([
    putSourceStatement(c.env.DB, source),
    ...secrets.map((secret) => insertSourceSecret(c.env.DB, source.tenantId, source.id, secret)),
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
  const states = await listSubscriptionStates(c.env.DB, rows.map(({ source }) => source.id));
  const page = await toPage(scope, rows, limit, ({ source }) => [source.id], (row) => presentSource(row, states.get(row.source.id)));
  return c.json(page, 200);
});

sources.openapi(get, async (c) => {
  const found = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  return c.json(await presentWithStates(c.env.DB, found), 200);
});

sources.openapi(change, async (c) => {
  const found = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  const source = changedSource(found.source, c.req.valid("json"), Date.now());
  requireTopics(source);
  await requireReadableSecrets(source, found, c.get("keyRing"));
  const after = { ...found, source };
  const entry = { action: "source.update", target: source.id, before: presentSource(found), after: presentSource(after) };
  await c.env.DB.batch([putSourceStatement(c.env.DB, source), auditStatement(c.env.DB, auditEntry(c, entry))]);
  await untilCachesExpired(Date.now());
  return c.json(await presentWithStates(c.env.DB, after), 200);
});

sources.openapi(rotate, async (c) => {
  const nowMs = Date.now();
  const { tenantId } = c.get("principal");
  const { id: sourceId } = c.req.valid("param");
  const found = await requireSource(c.env.DB, tenantId, sourceId);
  const { source } = found;
  if (source.kind === "sns") {
    return fail({ code: "conflict", detail: "SNS signs with certificates of its own: a source of that kind has no secret." });
  }
  const { secret, overlapSeconds } = c.req.valid("json");
  requireSecret(source, secret);
  const sealed = await sealSecret(c, secret, nowMs);
  const previousExpiresAtMs = nowMs + overlapSeconds * 1000;
  const after = { id: sealed.id, previousExpiresAt: toTime(previousExpiresAtMs) };
  await c.env.DB.batch([
    ...rotateSourceSecret(c.env.DB, tenantId, sourceId, sealed, previousExpiresAtMs),
    auditStatement(c.env.DB, auditEntry(c, { action: "source.rotate", target: sourceId, before: presentSource(found), after })),
  ]);
  await untilCachesExpired(Date.now());
  return c.json(presentSource(await requireSource(c.env.DB, tenantId, sourceId)), 200);
});

sources.openapi(remove, async (c) => {
  const found = await requireSource(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  const entry = { action: "source.delete", target: found.source.id, before: presentSource(found) };
  await c.env.DB.batch([
    ...deleteSourceStatements(c.env.DB, found.source.id),
    auditStatement(c.env.DB, auditEntry(c, entry)),
  ]);
  await untilCachesExpired(Date.now());
  return c.body(null, 204);
});

function newSource(input: z.output<typeof NewSource>, tenantId: string, nowMs: number): Source {
  const common = { id: newId("src", nowMs), tenantId, name: input.name, createdAtMs: nowMs, updatedAtMs: nowMs };
  if (input.kind === "sns") {
    const { kind, topicArns, topic, minVersion } = input;
    return { ...common, kind, topicArns, topic, minVersion };
  }
  const { kind, topic, deduplicateBy } = input;
  return { ...common, kind, topic, deduplicateBy, scheme: input.kind === "hmac" ? input.hmac : null };
}

async function sealSecret(c: Context<AppEnv>, secret: string, nowMs: number): Promise<NewSourceSecret> {
  const id = newId("sec", nowMs);
  return { id, sealed: await c.get("keyRing").seal(secret, `${c.get("principal").tenantId}/${id}`), createdAtMs: nowMs };
}

async function requireSource(db: D1Database, tenantId: string, id: string): Promise<SourceWithSecrets> {
  const found = await getTenantSource(db, tenantId, id);
  return found ?? fail({ code: "not-found", detail: "There is no source of that id." });
}

async function presentWithStates(db: D1Database, found: SourceWithSecrets) {
  return presentSource(found, (await listSubscriptionStates(db, [found.source.id])).get(found.source.id));
}
