import type { Context } from "hono";
import type { AuditEntry } from "../storage/audit.ts";
import type { AppEnv } from "./router.ts";

/** What changed, for {@link auditEntry}; `operatorPlane` when it belongs to no tenant. */
export type Change = {
  readonly action: string;
  readonly target: string;
  readonly before?: unknown;
  readonly after?: unknown;
  readonly operatorPlane?: boolean;
};

/** The audit entry of a change made by this request: adds who, for which tenant, when and from where. */
export function auditEntry(c: Context<AppEnv>, { operatorPlane = false, ...change }: Change): AuditEntry {
  const principal = c.get("principal");
  return {
    ...change,
    tenantId: operatorPlane ? null : principal.tenantId,
    timeMs: Date.now(),
    actor: principal.tokenId,
    requestId: c.get("requestId"),
    ip: clientIp(c),
  };
}

/** From where the request came: what Cloudflare's edge says, which overwrites what a client sends. */
export function clientIp(c: Context<AppEnv>): string | null {
  return c.req.header("cf-connecting-ip") ?? null;
}
