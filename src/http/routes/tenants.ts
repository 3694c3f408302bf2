import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { isolateOf } from "../../isolate.ts";
import { openMailbox } from "../../mailbox/open-mailbox.ts";
import { purgeOwned } from "../../registry/purge-tenants.ts";
import { auditStatement } from "../../storage/audit.ts";
import { NO_LIMITS, type TenantLimits } from "../../storage/limits.ts";
import {
  DEFAULT_TENANT, endTenantStatements, getTenant, insertTenantStatement, isTenantIdTaken, listTenants,
  purgeTenantHistory, suspendTenantStatement, type Tenant, updateTenantStatement,
} from "../../storage/tenants.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireOperator } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

const MAX_LIMIT = 1_000_000_000;

function limitOf(description: string, minimum: number) {
  return z.number().int().min(minimum).max(MAX_LIMIT).nullable().openapi({ description: `${description}; null: the gateway's own limit` });
}

const limitFields = {
  requestsPerSecond: limitOf("Requests to the API, in each isolate", 1),
  publishPerSecond: limitOf("Messages published, in each isolate", 1),
  endpoints: limitOf("How many endpoints it may have", 0),
  payloadBytes: limitOf("Of one message", 1),
  replayMessages: limitOf("Messages that one request may have delivered again", 0),
  replayJobs: limitOf("Replays that run at the same time", 0),
};
const Limits = z.object(limitFields).openapi("TenantLimits");
const LimitsInput = z.strictObject(limitFields).partial();
const name = z.string().trim().min(1).max(128);

const TenantBody = z
  .object({
    id: z.string().openapi({ example: "acme" }),
    name: z.string(),
    status: z.enum(["active", "suspended"]),
    limits: Limits,
    createdAt: Time,
  })
  .openapi("Tenant");

const NewTenant = z
  .strictObject({
    id: z
      .string()
      .regex(/^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/, { error: "Must be 1 to 63 of A-Z, a-z, 0-9, `_`, `-`, and begin with a letter or digit." })
      .optional()
      .openapi({ description: "Made up when absent; never used twice, not even after a deletion", example: "acme" }),
    name: name.optional().openapi({ description: "The id when absent" }),
    limits: LimitsInput.optional(),
  })
  .openapi("NewTenant");

const TenantChange = z.strictObject({ name: name.optional(), limits: LimitsInput.optional() }).openapi("TenantChange");

const tags = ["Tenants"];
const middleware = requireOperator("admin");

const create = createRoute({
  method: "post",
  path: "/v1/tenants",
  tags,
  summary: "Create a tenant",
  middleware,
  request: { body: jsonBody(NewTenant) },
  responses: { 201: jsonResponse(TenantBody, "The tenant"), ...problemResponses("conflict") },
});

const list = createRoute({
  method: "get",
  path: "/v1/tenants",
  tags,
  summary: "List tenants",
  middleware,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(TenantBody), "A page of tenants"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/tenants/{id}",
  tags,
  summary: "Show a tenant",
  middleware,
  request: { params: IdParam },
  responses: { 200: jsonResponse(TenantBody, "The tenant"), ...problemResponses("not-found") },
});

const patch = createRoute({
  method: "patch",
  path: "/v1/tenants/{id}",
  tags,
  summary: "Change a tenant",
  description: "What is left out stays, also among the limits. Answers once changed limits hold everywhere.",
  middleware,
  request: { params: IdParam, body: jsonBody(TenantChange) },
  responses: { 200: jsonResponse(TenantBody, "The tenant as it is now"), ...problemResponses("not-found", "invalid-request") },
});

const suspend = createRoute({
  method: "post",
  path: "/v1/tenants/{id}/suspend",
  tags,
  summary: "Suspend a tenant",
  description:
    "Every request with one of its tokens is answered 403 `tenant-suspended` until it is resumed; operators may go on. " +
    "What was accepted before is still delivered. Answers once it holds everywhere.",
  middleware,
  request: { params: IdParam },
  responses: { 200: jsonResponse(TenantBody, "The tenant as it is now"), ...problemResponses("not-found") },
});

const resume = createRoute({
  method: "post",
  path: "/v1/tenants/{id}/resume",
  tags,
  summary: "Resume a suspended tenant",
  middleware,
  request: { params: IdParam },
  responses: { 200: jsonResponse(TenantBody, "The tenant as it is now"), ...problemResponses("not-found") },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/tenants/{id}",
  tags,
  summary: "Delete a tenant",
  description:
    "With everything it owns: tokens, endpoints, subscriptions, sources, history; its streams with their messages, stream " +
    "subscriptions, and its mailboxes, Amazon SQS queues included. Answers once no request of the tenant is accepted any more, nothing is delivered " +
    "to its endpoints, and the first 200 streams and mailboxes are gone; the cron removes the rest, and tries again what " +
    "could not be removed. `default` can not be deleted.",
  middleware,
  request: { params: IdParam },
  responses: { 204: { description: "Deleted" }, ...problemResponses("not-found", "conflict") },
});

export const tenants = createRouter();

tenants.openapi(create, async (c) => {
  const { id: wanted, name, limits } = c.req.valid("json");
  const nowMs = Date.now();
  const id = wanted ?? newId("ten", nowMs);
  if (await isTenantIdTaken(c.env.DB, id)) {
    fail({ code: "conflict", detail: "The id is taken, or belonged to a tenant that was deleted: choose another." });
  }
  const tenant: Tenant = {
    id, name: name ?? id, createdAtMs: nowMs, suspended: false, limits: { ...NO_LIMITS, ...given(limits) },
  };
  const change = { action: "tenant.create", target: id, after: present(tenant), operatorPlane: true };
  await c.env.DB.batch([
    insertTenantStatement(c.env.DB, tenant),
    auditStatement(c.env.DB, auditEntry(c, change)),
  ]);
  return c.json(present(tenant), 201, { location: `/v1/tenants/${id}` });
});

tenants.openapi(list, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  const scope = { config: c.get("config"), tenantId: null, list: "tenants" };
  const afterId = await decodeIdCursor(scope, cursor);
  const rows = await listTenants(c.env.DB, { limit: limit + 1, afterId });
  return c.json(await toPage(scope, rows, limit, (tenant) => [tenant.id], present), 200);
});

tenants.openapi(get, async (c) => {
  return c.json(present(await requireTenant(c.env.DB, c.req.valid("param").id)), 200);
});

tenants.openapi(patch, async (c) => {
  const before = await requireTenant(c.env.DB, c.req.valid("param").id);
  const { name = before.name, limits } = c.req.valid("json");
  const tenant: Tenant = { ...before, name, limits: { ...before.limits, ...given(limits) } };
  const change = {
    action: "tenant.update", target: tenant.id, before: present(before), after: present(tenant), operatorPlane: true,
  };
  await c.env.DB.batch([updateTenantStatement(c.env.DB, tenant), auditStatement(c.env.DB, auditEntry(c, change))]);
  if (limits !== undefined) await untilCachesExpired(Date.now());
  return c.json(present(tenant), 200);
});

tenants.openapi(suspend, async (c) => c.json(present(await setSuspended(c, c.req.valid("param").id, true)), 200));

tenants.openapi(resume, async (c) => c.json(present(await setSuspended(c, c.req.valid("param").id, false)), 200));

tenants.openapi(remove, async (c) => {
  const tenant = await requireTenant(c.env.DB, c.req.valid("param").id);
  if (tenant.id === DEFAULT_TENANT) {
    fail({ code: "conflict", detail: "The tenant `default` can not be deleted." });
  }
  const deletion = deleteTenant(c, tenant);
  c.executionCtx.waitUntil(deletion); // goes on when the client does not wait for the end of it
  await deletion;
  return c.body(null, 204);
});

/** Also what changes nothing is recorded and waited for: whoever asks wants to know that it holds now. */
async function setSuspended(c: Context<AppEnv>, id: string, suspended: boolean): Promise<Tenant> {
  const db = c.env.DB;
  const before = await requireTenant(db, id);
  const tenant: Tenant = { ...before, suspended };
  const action = suspended ? "tenant.suspend" : "tenant.resume";
  const change = { action, target: id, before: present(before), after: present(tenant), operatorPlane: true };
  const nowMs = Date.now();
  await db.batch([
    suspendTenantStatement(db, id, suspended ? nowMs : null),
    auditStatement(db, auditEntry(c, change)),
  ]);
  await untilCachesExpired(Date.now());
  return tenant;
}

async function deleteTenant(c: Context<AppEnv>, tenant: Tenant): Promise<void> {
  const db = c.env.DB;
  const nowMs = Date.now();
  const change = { action: "tenant.delete", target: tenant.id, before: present(tenant), operatorPlane: true };
  await db.batch([...endTenantStatements(db, tenant.id, nowMs), auditStatement(db, auditEntry(c, change))]);
  await untilCachesExpired(Date.now());
  // what requests that were let in from a cache have added meanwhile
  await db.batch(endTenantStatements(db, tenant.id, nowMs));
  await purgeTenantHistory(db, tenant.id);
  const { config, world } = isolateOf(c.env);
  await purgeOwned({ env: c.env, mailbox: openMailbox(c.env, config), now: world.now }, tenant.id);
}

async function requireTenant(db: D1Database, id: string): Promise<Tenant> {
  return (await getTenant(db, id)) ?? fail({ code: "not-found", detail: "There is no tenant of that id." });
}

function present({ id, name, createdAtMs, suspended, limits }: Tenant): z.input<typeof TenantBody> {
  return { id, name, status: suspended ? "suspended" : "active", limits: { ...limits }, createdAt: toTime(createdAtMs) };
}

/** What was sent, without the fields that were left out. */
function given(limits: z.output<typeof LimitsInput> = {}): Partial<TenantLimits> {
  return Object.fromEntries(Object.entries(limits).filter(([, value]) => value !== undefined));
}
