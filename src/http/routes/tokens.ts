import { createRoute, z } from "@hono/zod-openapi";
import { toBase64Url } from "../../crypto/base64.ts";
import { sha256Hex } from "../../crypto/digest.ts";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { auditStatement } from "../../storage/audit.ts";
import {
  deleteTokenStatement, getToken, insertTokenStatement, listTokens, SCOPES, type Token,
} from "../../storage/tokens.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { createRouter, fail, type Principal } from "../router.ts";
import {
  IdParam, jsonBody, jsonResponse, Page, pageOf, problemResponses, Time, TimeInput, toTime,
} from "../schemas.ts";

/** 192 bits, of the ≥ 160 that §3 asks for. */
const TOKEN_BYTES = 24;

const TokenBody = z
  .object({
    id: z.string().openapi({ example: "tok_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    name: z.string(),
    scopes: z.array(z.enum(SCOPES)),
    operator: z.boolean().openapi({ description: "Belongs to no tenant and may name any" }),
    expiresAt: Time.nullable(),
    createdAt: Time,
  })
  .openapi("Token");

const NewToken = z
  .strictObject({
    name: z.string().trim().min(1).max(128),
    scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
    expiresAt: TimeInput.nullish(),
    operator: z.boolean().default(false).openapi({ description: "Only an operator may make an operator token" }),
  })
  .openapi("NewToken");

const TokenMade = TokenBody.extend({
  token: z.string().openapi({ description: "The token itself: shown this once, kept nowhere", example: "pst_…" }),
}).openapi("TokenMade");

const tags = ["Tokens"];
const middleware = requireScope("admin");

const create = createRoute({
  method: "post",
  path: "/v1/tokens",
  tags,
  summary: "Make a token",
  description: "A token can have the scopes its maker has, no others.",
  middleware,
  request: { body: jsonBody(NewToken) },
  responses: { 201: jsonResponse(TokenMade, "The token, with its value"), ...problemResponses("missing-scope") },
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
  const body = c.req.valid("json");
  const principal = c.get("principal");
  const nowMs = Date.now();
  requireGrantable(principal, body);
  requireFuture(body.expiresAt ?? null, nowMs);
  const value = `pst_${toBase64Url(crypto.getRandomValues(new Uint8Array(TOKEN_BYTES)))}`;
  const token: Token = {
    id: newId("tok", nowMs),
    tenantId: body.operator ? null : principal.tenantId,
    name: body.name,
    scopes: SCOPES.filter((scope) => body.scopes.includes(scope)),
    expiresAtMs: body.expiresAt ?? null,
    createdAtMs: nowMs,
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

function requireGrantable(principal: Principal, body: z.output<typeof NewToken>): void {
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
    expiresAt: token.expiresAtMs === null ? null : toTime(token.expiresAtMs),
    createdAt: toTime(token.createdAtMs),
  };
}
