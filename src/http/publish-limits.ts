import type { Context } from "hono";
import type { TenantLimits } from "../storage/limits.ts";
import { requirePublishRate } from "./middleware/rate-limit.ts";
import { tooLarge } from "./publish-request.ts";
import { type AppEnv, fail } from "./router.ts";

/** Ends the request when its messages are more, or larger, than its tenant may publish: 429 or 413. */
export function requireWithinLimits(c: Context<AppEnv>, messages: readonly { readonly body: Uint8Array }[]): void {
  for (const { body } of messages) requirePayload(c.get("limits"), body);
  requirePublishRate(c, messages.length);
}

/** Ends the request with 413 when the tenant may not publish a message of this size. */
export function requirePayload({ payloadBytes }: TenantLimits, body: Uint8Array): void {
  if (payloadBytes !== null && body.length > payloadBytes) fail(tooLarge(payloadBytes));
}
