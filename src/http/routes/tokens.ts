import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { sha256Hex } from "../../crypto/digest.ts";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { auditStatement } from "../../storage/audit.ts";
import { findEndpoint } from "../../storage/endpoints.ts";
import {
  deleteTokenStatement, getToken, insertTokenStatement, listTokens, rotateTokenStatement, SCOPES, type Token,
  type TokenBinding, updateTokenStatement,
} from "../../storage/tokens.ts";
import { auditEntry, type Change } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail, type Principal } from "../router.ts";
import { IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, toTime } from "../schemas.ts";
import { newSecretValue } from "../token-values.ts";
import { NewToken, RotateToken, TokenBody, TokenChange, TokenMade, TokenRotated } from "../token-schemas.ts";

const tags = ["Tokens"];
const middleware = requireScope("admin");

const create = createRoute({
  method: "post",
  path: "/v1/tokens",
  tags,
  summary: "Make a token",
  description:
    "A token can have the scopes its maker has, no others. One with `endpointId` or `node` is good for that endpoint only: " +
    "it pulls and reads what is below `/v1/endpoints/{id}`, and publishes. For any other endpoint it is answered 404.",
  middleware,
  request: { body: jsonBody(NewToken) },
  responses: {
    201: jsonResponse(TokenMade, "The token, with its value"),
    ...problemResponses("missing-scope", "not-found", "invalid-request", "limit-reached"),
  },
});

const list = createRoute({
  method: "get",
  path: "/v1/tokens",
  tags,
  summary: "List tokens",
  description: "Newest first, without their values. `operator=true` lists the operator tokens, for an operator.",
  middleware,
  request: { query: Page.extend({ operator: z.enum(["true", "false"]).default("false") }) },
  responses: { 200: jsonResponse(pageOf(TokenBody), "A page of tokens"), ...problemResponses("invalid-cursor") },
});

const get = createRoute({
  method: "get",
  path: "/v1/tokens/{id}",
  tags,
  summary: "Show a token",
  middleware,
  request: { params: IdParam },
  responses: { 200: jsonResponse(TokenBody, "The token, without its value"), ...problemResponses("not-found") },
});

const patch = createRoute({
  method: "patch",
  path: "/v1/tokens/{id}",
  tags,
  summary: "Change a token",
  description: "What is left out stays; `expiresAt` null: it does not expire. Answers once an earlier expiry holds everywhere.",
  middleware,
  request: { params: IdParam, body: jsonBody(TokenChange) },
  responses: { 200: jsonResponse(TokenBody, "The token as it is now"), ...problemResponses("not-found", "invalid-request") },
});

const rotate = createRoute({
  method: "post",
  path: "/v1/tokens/{id}/rotate",
  tags,
  summary: "Give a token a new value",
  description:
    "The value it had works for `overlapSeconds` more, one from before that no longer; with 0, answers once neither does. " +
    "As in making one, you need the scopes that the token has.",
  middleware,
  request: { params: IdParam, body: jsonBody(RotateToken) },
  responses: {
    200: jsonResponse(TokenRotated, "The token, with its new value"),
    ...problemResponses("not-found", "missing-scope", "invalid-request"),
  },
});

const remove = createRoute({
  method: "delete",
  path: "/v1/tokens/{id}",
  tags,
  summary: "Revoke a token",
  description: "Answers once no request with the token is accepted any more.",
  middleware,
  request: { params: IdParam },
  responses: { 204: { description: "Revoked" }, ...problemResponses("not-found") },
});

export const tokens = createRouter();

tokens.openapi(create, async (c) => {
  await requireRoom(c, "tokens");
  const body = c.req.valid("json");
  const principal = c.get("principal");
  const nowMs = Date.now();
  requireGrantable(principal, body);
  requireFuture(body.expiresAt ?? null, nowMs);
  const value = newSecretValue("pst");
  const token: Token = {
    id: newId("tok", nowMs),
    tenantId: body.operator ? null : principal.tenantId,
    name: body.name,
    scopes: SCOPES.filter((scope) => body.scopes.includes(scope)),
    binding: await bindingOf(c, body),
    portal: false,
    expiresAtMs: body.expiresAt ?? null,
    createdAtMs: nowMs,
    lastUsedAtMs: null,
    previousExpiresAtMs: null,
  };
  const change = { action: "token.create", target: token.id, after: present(token), operatorPlane: body.operator };
  await c.env.DB.batch([
    insertTokenStatement(c.env.DB, token, await sha256Hex(value)),
    auditStatement(c.env.DB, auditEntry(c, change)),
  ]);
  return c.json({ ...present(token), token: value }, 201, { location: `/v1/tokens/${token.id}` });
});

tokens.openapi(list, async (c) => {
  const { limit, cursor, operator } = c.req.valid("query");
  const principal = c.get("principal");
  if (operator === "true" && !principal.operator) refuseOperatorTokens();
  const tenantId = operator === "true" ? null : principal.tenantId;
  const scope = { config: c.get("config"), tenantId, list: "tokens" };
  const beforeId = await decodeIdCursor(scope, cursor);
  const rows = await listTokens(c.env.DB, tenantId, { limit: limit + 1, beforeId });
  return c.json(await toPage(scope, rows, limit, (token) => [token.id], present), 200);
});

tokens.openapi(get, async (c) => {
  const token = await requireToken(c.env.DB, c.get("principal"), c.req.valid("param").id);
  return c.json(present(token), 200);
});

tokens.openapi(patch, async (c) => {
  const before = await requireToken(c.env.DB, c.get("principal"), c.req.valid("param").id);
  const { name = before.name, expiresAt } = c.req.valid("json");
  const expiresAtMs = expiresAt === undefined ? before.expiresAtMs : expiresAt;
  if (expiresAt !== undefined) requireFuture(expiresAt, Date.now());
  const token: Token = { ...before, name, expiresAtMs };
  await c.env.DB.batch([
    updateTokenStatement(c.env.DB, token.id, token),
    auditStatement(c.env.DB, auditEntry(c, changeOf("token.update", before, token))),
  ]);
  if (expiresAtMs !== before.expiresAtMs) await untilCachesExpired(Date.now());
  return c.json(present(token), 200);
});

tokens.openapi(rotate, async (c) => {
  const principal = c.get("principal");
  const before = await requireToken(c.env.DB, principal, c.req.valid("param").id);
  // whoever gets the value could do all that the token may
  requireGrantable(principal, { scopes: [...before.scopes], operator: before.tenantId === null });
  const value = newSecretValue("pst");
  const previousExpiresAtMs = Date.now() + c.req.valid("json").overlapSeconds * 1000;
  const token: Token = { ...before, previousExpiresAtMs };
  await c.env.DB.batch([
    rotateTokenStatement(c.env.DB, token.id, { hash: await sha256Hex(value), previousExpiresAtMs }),
    auditStatement(c.env.DB, auditEntry(c, changeOf("token.rotate", before, token))),
  ]);
  // caches know the values before by the times they had
  await untilCachesExpired(Date.now());
  return c.json({ ...present(token), token: value, previousExpiresAt: toTime(previousExpiresAtMs) }, 200);
});

tokens.openapi(remove, async (c) => {
  const token = await requireToken(c.env.DB, c.get("principal"), c.req.valid("param").id);
  const operatorPlane = token.tenantId === null;
  const change = { action: "token.delete", target: token.id, before: present(token), operatorPlane };
  await c.env.DB.batch([
    deleteTokenStatement(c.env.DB, token.id),
    auditStatement(c.env.DB, auditEntry(c, change)),
  ]);
  await untilCachesExpired(Date.now());
  return c.body(null, 204);
});

async function requireToken(db: D1Database, principal: Principal, id: string): Promise<Token> {
  const token = await getToken(db, principal.tenantId, id, principal.operator);
  return token ?? fail({ code: "not-found", detail: "There is no token of that id." });
}

function changeOf(action: string, before: Token, after: Token): Change {
  const shown = (token: Token): unknown => ({
    ...present(token),
    previousExpiresAt: token.previousExpiresAtMs === null ? null : toTime(token.previousExpiresAtMs),
  });
  return { action, target: after.id, before: shown(before), after: shown(after), operatorPlane: after.tenantId === null };
}

/** An endpoint of another tenant is answered as one that does not exist. */
async function bindingOf(c: Context<AppEnv>, { endpointId, node }: z.output<typeof NewToken>): Promise<TokenBinding | null> {
  if (node !== undefined) return { endpointId: null, node };
  if (endpointId === undefined) return null;
  if ((await findEndpoint(c.env.DB, c.get("principal").tenantId, endpointId)) !== null) return { endpointId, node: null };
  return fail({ code: "not-found", detail: "There is no endpoint with this `endpointId`." });
}

function requireGrantable(principal: Principal, body: Pick<z.output<typeof NewToken>, "scopes" | "operator">): void {
  if (body.operator && !principal.operator) refuseOperatorTokens();
  const missing = body.scopes.filter((scope) => !principal.scopes.has(scope));
  if (missing.length === 0) return;
  fail({
    code: "missing-scope",
    detail: `Your token lacks ${missing.map((scope) => `\`${scope}\``).join(", ")}, so it can not make one that has it.`,
  });
}

function refuseOperatorTokens(): never {
  return fail({ code: "missing-scope", detail: "This needs an operator token: leave out `operator`." });
}

function requireFuture(expiresAtMs: number | null, nowMs: number): void {
  if (expiresAtMs === null || expiresAtMs > nowMs) return;
  fail({
    code: "invalid-request",
    detail: "Mend the listed fields and send the request again.",
    errors: [{ pointer: "/expiresAt", detail: "Must be in the future." }],
  });
}

function present(token: Token): z.input<typeof TokenBody> {
  return {
    id: token.id,
    name: token.name,
    scopes: [...token.scopes],
    operator: token.tenantId === null,
    endpointId: token.binding?.endpointId ?? null,
    node: token.binding?.node ?? null,
    portal: token.portal,
    expiresAt: token.expiresAtMs === null ? null : toTime(token.expiresAtMs),
    createdAt: toTime(token.createdAtMs),
    lastUsedAt: token.lastUsedAtMs === null ? null : toTime(token.lastUsedAtMs),
  };
}
