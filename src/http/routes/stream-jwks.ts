import { createRoute, z } from "@hono/zod-openapi";
import { DEFAULT_TENANT } from "../../storage/tenants.ts";
import { wakeJwks } from "../../streams/subscriptions/wake-signature.ts";
import { createRouter } from "../router.ts";

const MAX_TENANT_CHARACTERS = 128;
/** Long enough to be cached, short enough for a verifier that met an unknown `kid` to ask again. */
const FRESH_FOR = "public, max-age=300";
const JWKS_TYPE = "application/jwk-set+json";

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
      }),
    ),
  })
  .openapi("WakeKeySet");

const route = createRoute({
  method: "get",
  path: "/v1/stream/__ds/jwks.json",
  tags: ["Stream subscriptions"],
  summary: "Public keys of webhook wakes",
  description: "RFC 7517 and RFC 8037. `jwks_url` of a subscription names its tenant. Needs no token: receivers have none.",
  security: [],
  request: {
    query: z.object({
      tenant: z.string().max(MAX_TENANT_CHARACTERS).default(DEFAULT_TENANT).openapi({ description: "Whose keys" }),
    }),
  },
  responses: { 200: { description: "The key that signs now first", content: { [JWKS_TYPE]: { schema: Jwks } } } },
});

/** Mounted before what asks for a token. */
export const streamJwks = createRouter();

streamJwks.openapi(route, async (c) => {
  const keys = await wakeJwks(c.get("config").encryptionKeys, c.req.valid("query").tenant);
  return c.json({ keys }, 200, { "content-type": JWKS_TYPE, "cache-control": FRESH_FOR });
});
