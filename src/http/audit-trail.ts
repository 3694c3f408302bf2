import type { Context } from "hono";
import { z } from "zod";
import type { AuditEntry } from "../storage/audit.ts";
import type { AppEnv } from "./router.ts";

/** The longest IPv6 address is shorter. */
const MAX_IP_CHARACTERS = 64;

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

const Connection = z.object({ clientIp: z.string() });

/**
 * From where the request came. workerd by itself says whose connection it is, and lets every header through; then only
 * a proxy that the operator named may say otherwise. Cloudflare's edge says it in a header that no client can set.
 */
export function clientIp(c: Context<AppEnv>): string | null {
  const { clientIpHeader } = c.get("config");
  const named = clientIpHeader === null ? undefined : c.req.header(clientIpHeader);
  if (named !== undefined) return named.slice(0, MAX_IP_CHARACTERS);
  const connection = Connection.safeParse(c.req.raw.cf);
  if (connection.success) return connection.data.clientIp.replace(/:\d+$/, "").replace(/^\[|\]$/g, "");
  return c.req.header("cf-connecting-ip") ?? null;
}
