import type { MiddlewareHandler } from "hono";
import { type AppEnv, fail, type Scope } from "../router.ts";

/** Stands in the documentation where a scope does: no scope is enough, nor is one needed. */
const WAKE = "wake-token";

/** What a route asks of a token: the scope, or `orScope` where that serves as well. */
export type Requirement = { readonly scope: Scope | typeof WAKE; readonly orScope?: Scope | undefined; readonly operator: boolean };

/** Kept beside the middleware, so that the OpenAPI document says what is enforced. */
const requirements = new WeakMap<object, Requirement>();

/** Lets a request pass whose token has the scope (or `orScope`, where given); 403 that names it otherwise. */
export function requireScope(scope: Scope, orScope?: Scope): MiddlewareHandler<AppEnv> {
  return requirement({ scope, orScope, operator: false });
}

/** Lets an operator pass who has the scope; the tenants and what belongs to none are theirs alone. */
export function requireOperator(scope: Scope): MiddlewareHandler<AppEnv> {
  return requirement({ scope, operator: true });
}

/**
 * Lets a request pass that has the token of a wake of the subscription in its path; 403 otherwise, whether there is such a
 * subscription or not.
 */
export function requireWakeToken(): MiddlewareHandler<AppEnv> {
  const middleware: MiddlewareHandler<AppEnv> = async (c, next) => {
    const { wake } = c.get("principal");
    if (wake === undefined || wake.id !== c.req.param("id")) {
      fail({
        code: "missing-scope",
        detail: "Send the token that came with the wake of this subscription, or with its claim.",
        error: { code: "TOKEN_INVALID" },
      });
    }
    await next();
  };
  requirements.set(middleware, { scope: WAKE, operator: false });
  return middleware;
}

/** What this handler of a route requires; undefined when it is none of those above. */
export function requirementOf(handler: object): Requirement | undefined {
  return requirements.get(handler);
}

function requirement(required: Requirement & { readonly scope: Scope }): MiddlewareHandler<AppEnv> {
  const { scope, orScope, operator } = required;
  const middleware: MiddlewareHandler<AppEnv> = async (c, next) => {
    const principal = c.get("principal");
    const allowed = principal.scopes.has(scope) || (orScope !== undefined && principal.scopes.has(orScope));
    if (!allowed || (operator && !principal.operator)) {
      const token = operator ? "an operator token" : "a token";
      const scopes = orScope === undefined ? `\`${scope}\`` : `\`${scope}\` or \`${orScope}\``;
      fail({ code: "missing-scope", detail: `This needs ${token} with the scope ${scopes}.` });
    }
    await next();
  };
  requirements.set(middleware, required);
  return middleware;
}
