import type { Context } from "hono";
import { changedAddresses, releaseAddresses } from "../delivery/release-addresses.ts";
import { describeError, log } from "../log.ts";
import { type EndpointAddresses, findEndpointAddresses } from "../storage/endpoints.ts";
import type { AppEnv } from "./router.ts";

/** Where messages reach an endpoint of the asker's tenant now, for {@link releaseChanged} after it was changed. */
export function addressesOf(c: Context<AppEnv>, endpointId: string): Promise<EndpointAddresses | null> {
  return findEndpointAddresses(c.env.DB, c.get("principal").tenantId, endpointId);
}

/** After the response: lets flow what waited for what the endpoint has become since `before` (null: it is new). */
export function releaseChanged(c: Context<AppEnv>, endpointId: string, before: EndpointAddresses | null): void {
  const { tenantId } = c.get("principal");
  const committedAtMs = Date.now();
  const release = async (): Promise<void> => {
    try {
      const after = await findEndpointAddresses(c.env.DB, tenantId, endpointId);
      await releaseAddresses(c.env, tenantId, changedAddresses(before, after), committedAtMs);
    } catch (error) {
      log("warn", "what waits for an endpoint waits for the alarm", { endpointId, error: describeError(error) });
    }
  };
  c.executionCtx.waitUntil(release());
}
