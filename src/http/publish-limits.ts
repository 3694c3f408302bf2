import type { Context } from "hono";
import { requirePublishRate } from "./middleware/rate-limit.ts";
import { tooLarge } from "./publish-request.ts";
import { type AppEnv, fail } from "./router.ts";

/** Ends the request when its messages are more, or larger, than its tenant may publish: 429 or 413. */
export function requireWithinLimits(c: Context<AppEnv>, messages: readonly { readonly body: Uint8Array }[]): void {
  const { payloadBytes } = c.get("limits");
  if (payloadBytes !== null && messages.some(({ body }) => body.length > payloadBytes)) fail(tooLarge(payloadBytes));
  requirePublishRate(c, messages.length);
}
