import { z } from "zod";

/** What may sign a JWT, with the keys of a JWKS that it takes: all asymmetric, none that a shared secret could pass for. */
export const KEY_OF_ALGORITHM = {
  RS256: { kty: "RSA" },
  RS384: { kty: "RSA" },
  RS512: { kty: "RSA" },
  PS256: { kty: "RSA" },
  PS384: { kty: "RSA" },
  PS512: { kty: "RSA" },
  ES256: { kty: "EC", crv: "P-256" },
  ES384: { kty: "EC", crv: "P-384" },
  ES512: { kty: "EC", crv: "P-521" },
  EdDSA: { kty: "OKP", crv: "Ed25519" },
} as const satisfies Record<string, { kty: string; crv?: string }>;

export type JwtAlgorithm = keyof typeof KEY_OF_ALGORITHM;

const DEFAULT_ALGORITHMS: JwtAlgorithm[] = ["RS256", "ES256", "EdDSA"];
const MAX_LEEWAY_SECONDS = 60;
const DEFAULT_LEEWAY_SECONDS = 30;

const claimName = z.string().min(1).max(256);

const IssuerSettings = z.strictObject({
  issuer: z.string().min(1),
  jwksUrl: z.url({ protocol: /^https?$/, error: "must be an http(s) URL" }),
  audience: z.string().min(1),
  algorithms: z.array(z.enum(Object.keys(KEY_OF_ALGORITHM).filter(isAlgorithm))).min(1).default(DEFAULT_ALGORITHMS),
  tenantClaim: claimName.default("tenant"),
  scopesClaim: claimName.default("scope"),
  leewaySeconds: z.number().min(0).max(MAX_LEEWAY_SECONDS).default(DEFAULT_LEEWAY_SECONDS),
  operator: z.boolean().default(false),
  operatorClaim: claimName.default("operator"),
});

/** Who may issue JWTs for this gateway, and what their claims mean. Nothing in a token changes any of it. */
export type Issuer = {
  /** Compared with `iss` character by character. */
  readonly issuer: string;
  readonly jwksUrl: string;
  readonly audience: string;
  readonly algorithms: readonly JwtAlgorithm[];
  readonly tenantClaim: string;
  /** Of a text with spaces between the scopes, or of an array. */
  readonly scopesClaim: string;
  readonly leewaySeconds: number;
  /** The claim that is `true` in an operator's token; null: this issuer makes no operators. */
  readonly operatorClaim: string | null;
};

/**
 * The issuers in `POSTERN_JWT_ISSUERS`, a JSON array. Throws an `Error` that names what is wrong. A JWKS is fetched by
 * https, but for the `host:port` addresses that are allowed to be private.
 */
export function parseIssuers(text: string, allowHosts: ReadonlySet<string>): Issuer[] {
  const parsed = z.array(IssuerSettings).safeParse(parseJson(text));
  if (!parsed.success) {
    throw new Error(`POSTERN_JWT_ISSUERS: ${parsed.error.issues.map(({ path, message }) => `${path.join(".")}: ${message}`).join("; ")}`);
  }
  for (const [index, { issuer, jwksUrl }] of parsed.data.entries()) {
    const url = new URL(jwksUrl);
    if (url.protocol !== "https:" && !allowHosts.has(url.host)) {
      throw new Error(`POSTERN_JWT_ISSUERS: ${index}.jwksUrl: must be https, unless POSTERN_ALLOW_HOSTS lists its host:port`);
    }
    if (url.username !== "" || url.password !== "") throw new Error(`POSTERN_JWT_ISSUERS: ${index}.jwksUrl: must hold no credentials`);
    if (parsed.data.findIndex((other) => other.issuer === issuer) !== index) {
      throw new Error(`POSTERN_JWT_ISSUERS: ${index}.issuer: is listed twice`);
    }
  }
  return parsed.data.map(({ operator, operatorClaim, ...issuer }) => ({ ...issuer, operatorClaim: operator ? operatorClaim : null }));
}

export function isAlgorithm(name: unknown): name is JwtAlgorithm {
  return typeof name === "string" && Object.hasOwn(KEY_OF_ALGORITHM, name);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (thrown) {
    throw new Error("POSTERN_JWT_ISSUERS: must be a JSON array", { cause: thrown });
  }
}
