import { OpenAPIHono, type z } from "@hono/zod-openapi";
import type { Config } from "../config.ts";
import type { KeyRing } from "../crypto/keyring.ts";
import type { TenantLimits } from "../storage/limits.ts";
import type { TokenBinding } from "../storage/tokens.ts";
import type { WakeGrant } from "../streams/subscriptions/wake-token.ts";
import { type FieldError, type Problem, ProblemError, problemResponse } from "./problem.ts";

export type Scope = "publish" | "consume" | "manage" | "read" | "admin";

/** Who is asking, and for which tenant. An operator may name any; their scopes hold in each. */
export type Principal = {
  /** `tok_…`, `operator` for the token of the environment, `jwt:` with subject and issuer, or `wake:` with the subscription. */
  readonly tokenId: string;
  readonly operator: boolean;
  /** The tenant of the token, or the one an operator named in `Postern-Tenant` (absent: `default`). */
  readonly tenantId: string;
  readonly scopes: ReadonlySet<Scope>;
  /** Of a token that is good for one endpoint only. */
  readonly binding?: TokenBinding;
  /** Of a token that is good for one wake of one stream subscription only; then there are no scopes. */
  readonly wake?: WakeGrant;
};

/** The values of `RateLimit-Policy` and `RateLimit`. */
export type RateLimitState = { readonly policy: string; readonly state: string };

/** What middleware leaves for the routes. */
export type AppVariables = {
  requestId: string;
  config: Config;
  keyRing: KeyRing;
  principal: Principal;
  /** What the tenant may use, null where the gateway's own limit counts. */
  limits: TenantLimits;
  /** The one endpoint of a bound token, where the request is about endpoints. */
  boundEndpointId: string | undefined;
  rateLimit: RateLimitState | undefined;
  /** SHA-256 of the tenant's `Idempotency-Key`, hex, while a request with one runs for the first time. */
  idempotencyKeyHash: string | undefined;
};

export type AppEnv = { Bindings: Cloudflare.Env; Variables: AppVariables };

/**
 * A router whose routes are validated by their own schemas; what breaks one is a 422 that names each field.
 *
 * @param error what a protocol of its own calls that
 */
export function createRouter(error?: Problem["error"]): OpenAPIHono<AppEnv> {
  return new OpenAPIHono<AppEnv>({
    defaultHook: (result, c) => {
      if (result.success) return undefined;
      const errors = result.error.issues.flatMap((issue) => fieldErrors(result.target, issue));
      const detail = "Mend the listed fields and send the request again.";
      return problemResponse({ code: "invalid-request", detail, errors, ...(error === undefined ? {} : { error }) }, c.get("requestId"));
    },
  });
}

/** Ends a route's parsing with a problem. */
export function fail(problem: Problem): never {
  throw new ProblemError(problem);
}

/** An unknown field is named itself, not the object it stands in. */
function fieldErrors(target: string, issue: z.core.$ZodIssue): FieldError[] {
  if (issue.code !== "unrecognized_keys") return [{ pointer: fieldPointer(target, issue.path), detail: issue.message }];
  return issue.keys.map((key) => ({
    pointer: fieldPointer(target, [...issue.path, key]),
    detail: "There is no such field: leave it out or mend its name.",
  }));
}

function fieldPointer(target: string, path: readonly PropertyKey[]): string {
  const segments = path.map((segment) => String(segment));
  switch (target) {
    case "query":
      return `?${segments.join(".")}`;
    case "header":
      return `header:${segments.join(".")}`;
    case "param":
      return `path:${segments.join(".")}`;
    default:
      return segments.map((segment) => `/${segment.replaceAll("~", "~0").replaceAll("/", "~1")}`).join("");
  }
}
