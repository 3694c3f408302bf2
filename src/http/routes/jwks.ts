import { createRoute, z } from "@hono/zod-openapi";
import { publicKeyText } from "../../delivery/ed25519-key.ts";
import { listSigningKeys } from "../../storage/signing-keys.ts";
import { DEFAULT_TENANT } from "../../storage/tenants.ts";
import { createRouter } from "../router.ts";
import { jsonResponse } from "../schemas.ts";

const MAX_TENANT_CHARACTERS = 128;
/** Long enough to be cached, short enough for a verifier that met an unknown `kid` to ask again. */
const FRESH_FOR = "public, max-age=300";

const Jwks = z
  .object({
    keys: z.array(
      z.object({
        kty: z.literal("OKP"),
        crv: z.literal("Ed25519"),
        x: z.string().openapi({ description: "The public key, base64url" }),
        kid: z.string(),
        use: z.literal("sig"),
        alg: z.literal("EdDSA"),
        whpk: z.string().openapi({ description: "The same key as Standard Webhooks writes it: `whpk_…`" }),
      }),
    ),
  })
  .openapi("JsonWebKeySet");

const get = createRoute({
  method: "get",
  path: "/.well-known/jwks.json",
  tags: ["Endpoints"],
  summary: "Public keys of `v1a` signatures",
  description:
    "RFC 7517 and RFC 8037. A tenant has a key from the first endpoint with `asymmetric` on; a tenant without one and " +
    "one that does not exist have the same empty answer.",
  security: [],
  request: {
    query: z.object({
      tenant: z.string().max(MAX_TENANT_CHARACTERS).default(DEFAULT_TENANT).openapi({ description: "Whose keys" }),
    }),
  },
  responses: { 200: jsonResponse(Jwks, "The keys") },
});

export const jwks = createRouter();

jwks.openapi(get, async (c) => {
  const keys = await listSigningKeys(c.env.DB, c.req.valid("query").tenant);
  const shown = keys.map(({ id, publicKey }) => ({
    kty: "OKP" as const,
    crv: "Ed25519" as const,
    x: publicKey,
    kid: id,
    use: "sig" as const,
    alg: "EdDSA" as const,
    whpk: publicKeyText(publicKey),
  }));
  return c.json({ keys: shown }, 200, { "cache-control": FRESH_FOR });
});
