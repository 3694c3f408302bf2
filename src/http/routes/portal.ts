import { createRoute, z } from "@hono/zod-openapi";
import type { Context } from "hono";
import { sha256Hex } from "../../crypto/digest.ts";
import { untilCachesExpired } from "../../delivery/freshness.ts";
import { newId } from "../../ids.ts";
import { auditStatement } from "../../storage/audit.ts";
import { exchangePortalCode, findPortalCode, insertPortalCode, type PortalCode } from "../../storage/portal-codes.ts";
import { deleteTokenStatement, getToken, type Token } from "../../storage/tokens.ts";
import { auditEntry, clientIp } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { requireRoom } from "../room.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, problemResponses, Time, toTime } from "../schemas.ts";
import { looksLikePortalCode, newSecretValue } from "../token-values.ts";

/** Never `admin`: a session makes no tokens, and opens no further ones. */
const PORTAL_SCOPES = ["read", "manage", "consume", "publish"] as const;
const DEFAULT_SCOPES: (typeof PORTAL_SCOPES)[number][] = ["read", "manage"];
const [DEFAULT_CODE_SECONDS, MAX_CODE_SECONDS] = [300, 600];
const [DEFAULT_SESSION_SECONDS, MAX_SESSION_SECONDS] = [3_600, 86_400];

const NewPortalCode = z
  .strictObject({
    name: z.string().trim().min(1).max(128).default("portal").openapi({ description: "Whose session it will be: shown in the lists", example: "customer 1234" }),
    scopes: z.array(z.enum(PORTAL_SCOPES)).min(1).max(PORTAL_SCOPES.length).default(DEFAULT_SCOPES).openapi({ description: "Of yours, those of the session" }),
    expiresInSeconds: z.number().int().min(10).max(MAX_CODE_SECONDS).default(DEFAULT_CODE_SECONDS).openapi({ description: "How long the code may be exchanged" }),
    sessionSeconds: z.number().int().min(60).max(MAX_SESSION_SECONDS).default(DEFAULT_SESSION_SECONDS).openapi({ description: "How long the session lasts" }),
  })
  .openapi("NewPortalCode");

const PortalCodeMade = z
  .object({
    id: z.string().openapi({ example: "pco_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    code: z.string().openapi({ description: "Shown this once, kept nowhere; works once", example: "pcd_…" }),
    name: z.string(),
    scopes: z.array(z.enum(PORTAL_SCOPES)),
    expiresAt: Time,
    sessionSeconds: z.number().int(),
  })
  .openapi("PortalCode");

const Exchange = z.strictObject({ code: z.string().max(128) }).openapi("PortalExchange");

const PortalSessionMade = z
  .object({
    id: z.string().openapi({ example: "tok_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    token: z.string().openapi({ description: "For `Authorization: Bearer`; shown this once, kept nowhere", example: "pst_…" }),
    tenant: z.string(),
    name: z.string(),
    scopes: z.array(z.enum(PORTAL_SCOPES)),
    expiresAt: Time,
  })
  .openapi("PortalSession");

const tags = ["Portal"];
/** Also for caches that take a POST's answer for theirs. */
const SECRET_HEADERS = { "cache-control": "no-store" };

const createCode = createRoute({
  method: "post",
  path: "/v1/portal-codes",
  tags,
  summary: "Make a code that opens a portal session",
  description:
    "For your server: it gives the code to the browser of one of your customers, which exchanges it at " +
    "`/v1/portal-sessions`. Hand it over in a form or in the fragment of a URL, which no server and no log gets to see. " +
    "Revoking the token that made it ends the code, and the session.",
  middleware: [requireScope("admin", "manage")] as const,
  request: { body: jsonBody(NewPortalCode) },
  responses: { 201: jsonResponse(PortalCodeMade, "The code"), ...problemResponses("missing-scope", "invalid-request", "limit-reached") },
});

const exchange = createRoute({
  method: "post",
  path: "/v1/portal-sessions",
  tags,
  summary: "Exchange a code for a session",
  description: "Needs no token. A code works once; one that is not known, was used or has expired is answered alike.",
  security: [],
  request: { body: jsonBody(Exchange) },
  responses: { 201: jsonResponse(PortalSessionMade, "The session's token"), ...problemResponses("code-refused", "invalid-request", "unsupported-media-type") },
});

const end = createRoute({
  method: "delete",
  path: "/v1/portal-sessions/current",
  tags,
  summary: "End the session this token is of",
  description: "Answers once no request with the token is accepted any more.",
  middleware: [requireScope("read", "manage")] as const,
  responses: { 204: { description: "Ended" }, ...problemResponses("conflict") },
});

/** What needs no token: registered before authentication. */
export const portalExchange = createRouter();
export const portal = createRouter();

portal.openapi(createCode, async (c) => {
  await requireRoom(c, "tokens");
  const { name, scopes, expiresInSeconds, sessionSeconds } = c.req.valid("json");
  const maker = await ownToken(c);
  if (maker?.portal === true) fail({ code: "missing-scope", detail: "A portal session can not open another: use a token of your own." });
  requireOwnScopes(c, scopes);
  const nowMs = Date.now();
  const code: PortalCode = {
    id: newId("pco", nowMs),
    tenantId: c.get("principal").tenantId,
    name,
    scopes: PORTAL_SCOPES.filter((scope) => scopes.includes(scope)),
    sessionSeconds,
    madeBy: maker?.id ?? null,
    createdAtMs: nowMs,
    expiresAtMs: nowMs + expiresInSeconds * 1000,
  };
  const value = newSecretValue("pcd");
  const shown = { id: code.id, name, scopes: [...scopes], expiresAt: toTime(code.expiresAtMs), sessionSeconds };
  await c.env.DB.batch([
    insertPortalCode(c.env.DB, code, await sha256Hex(value)),
    auditStatement(c.env.DB, auditEntry(c, { action: "portal-code.create", target: code.id, after: shown })),
  ]);
  return c.json({ ...shown, code: value }, 201, SECRET_HEADERS);
});

portalExchange.openapi(exchange, async (c) => {
  const nowMs = Date.now();
  const { code: given } = c.req.valid("json");
  const code = looksLikePortalCode(given) ? await findPortalCode(c.env.DB, await sha256Hex(given), nowMs) : null;
  if (code === null) return refuseCode();
  const value = newSecretValue("pst");
  const session = { id: newId("tok", nowMs), hash: await sha256Hex(value), nowMs, expiresAtMs: nowMs + code.sessionSeconds * 1000 };
  const { tenantId, name, scopes } = code;
  const shown = { id: session.id, tenant: tenantId, name, scopes: PORTAL_SCOPES.filter((scope) => scopes.includes(scope)), expiresAt: toTime(session.expiresAtMs) };
  const entry = {
    tenantId, timeMs: nowMs, actor: code.id, action: "portal-session.create", target: session.id, after: { ...shown, madeBy: code.madeBy },
    requestId: c.get("requestId"), ip: clientIp(c),
  };
  if (!(await exchangePortalCode(c.env.DB, code, session, entry))) return refuseCode();
  return c.json({ ...shown, token: value }, 201, SECRET_HEADERS);
});

portal.openapi(end, async (c) => {
  const token = await ownToken(c);
  // ended a moment ago, by another request
  if (token === null && c.get("principal").tokenId.startsWith("tok_")) return c.body(null, 204);
  if (token?.portal !== true) {
    return fail({ code: "conflict", detail: "This token is of no portal session: revoke it at `/v1/tokens/{id}`." });
  }
  const { id: target, name } = token;
  await c.env.DB.batch([
    deleteTokenStatement(c.env.DB, target),
    auditStatement(c.env.DB, auditEntry(c, { action: "portal-session.delete", target, before: { id: target, name } })),
  ]);
  await untilCachesExpired(Date.now());
  return c.body(null, 204);
});

/** The token of this request, where it is one of ours. */
async function ownToken(c: Context<AppEnv>): Promise<Token | null> {
  const { tenantId, tokenId, operator } = c.get("principal");
  return getToken(c.env.DB, tenantId, tokenId, operator);
}

function requireOwnScopes(c: Context<AppEnv>, scopes: readonly (typeof PORTAL_SCOPES)[number][]): void {
  const missing = scopes.filter((scope) => !c.get("principal").scopes.has(scope));
  if (missing.length === 0) return;
  fail({
    code: "missing-scope",
    detail: `Your token lacks ${missing.map((scope) => `\`${scope}\``).join(", ")}, so it can not open a session that has it.`,
  });
}

function refuseCode(): never {
  return fail({ code: "code-refused", detail: "The code is not known, was used or has expired: have another one made." });
}
