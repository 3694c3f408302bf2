import { z } from "@hono/zod-openapi";
import { isTarget } from "../messages/topic.ts";
import { SCOPES } from "../storage/tokens.ts";
import { Time, TimeInput } from "./schemas.ts";

const DEFAULT_OVERLAP_SECONDS = 86_400;
const MAX_OVERLAP_SECONDS = 30 * 86_400;
/** What has a meaning for one endpoint: not the making of others, nor of tokens. */
const BINDABLE_SCOPES: ReadonlySet<string> = new Set(["publish", "consume", "read"]);

export const TokenBody = z
  .object({
    id: z.string().openapi({ example: "tok_01kgh2m8q0v7x3w5y9z1a2b3c4" }),
    name: z.string(),
    scopes: z.array(z.enum(SCOPES)),
    operator: z.boolean().openapi({ description: "Belongs to no tenant and may name any" }),
    endpointId: z.string().nullable().openapi({ description: "The one endpoint it is good for" }),
    node: z.string().nullable().openapi({ description: "The node name of the one endpoint it is good for" }),
    portal: z.boolean().openapi({ description: "Of a portal session, see `/v1/portal-codes`" }),
    expiresAt: Time.nullable(),
    createdAt: Time,
    lastUsedAt: Time.nullable().openapi({ description: "At most a minute behind" }),
  })
  .openapi("Token");

const name = z.string().trim().min(1).max(128);

export const NewToken = z
  .strictObject({
    name,
    scopes: z.array(z.enum(SCOPES)).min(1).max(SCOPES.length),
    expiresAt: TimeInput.nullish(),
    operator: z.boolean().default(false).openapi({ description: "Only an operator may make an operator token" }),
    endpointId: z.string().max(128).optional().openapi({ description: "Binds the token to this endpoint" }),
    node: z
      .string()
      .refine(isTarget, { error: "Must be dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters." })
      .optional()
      .openapi({ description: "Binds the token to whichever endpoint has this node name; there need not be one yet", example: "till.7" }),
  })
  .refine(({ endpointId, node }) => endpointId === undefined || node === undefined, {
    path: ["node"], error: "Bind the token to an endpoint or to a node, not to both.",
  })
  .refine(({ endpointId, node, operator }) => !operator || (endpointId === undefined && node === undefined), {
    path: ["operator"], error: "A bound token belongs to the tenant of its endpoint.",
  })
  .refine(
    ({ endpointId, node, scopes }) =>
      (endpointId === undefined && node === undefined) || scopes.every((scope) => BINDABLE_SCOPES.has(scope)),
    { path: ["scopes"], error: "A bound token can have `publish`, `consume` and `read`." },
  )
  .openapi("NewToken");

export const TokenChange = z.strictObject({ name: name.optional(), expiresAt: TimeInput.nullish() }).openapi("TokenChange");

export const RotateToken = z
  .strictObject({
    overlapSeconds: z.number().int().min(0).max(MAX_OVERLAP_SECONDS).default(DEFAULT_OVERLAP_SECONDS)
      .openapi({ description: "How long the value before works too" }),
  })
  .openapi("RotateToken");

export const TokenMade = TokenBody.extend({
  token: z.string().openapi({ description: "The token itself: shown this once, kept nowhere", example: "pst_…" }),
}).openapi("TokenMade");

export const TokenRotated = TokenMade.extend({
  previousExpiresAt: Time.openapi({ description: "Until then the value before works too" }),
}).openapi("TokenRotated");
