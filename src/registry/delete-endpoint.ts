import { untilCachesExpired } from "../delivery/freshness.ts";
import { deleteEndpoint, type EndpointWithTopics, findEndpoint } from "../storage/endpoints.ts";
import { viewEndpoint } from "./endpoint-view.ts";
import { accept, type Outcome, refuse } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

/**
 * Deletes an endpoint with its secrets and subscriptions, and answers once no isolate can still believe in it: no
 * request to it begins after that (I5). What it was; its open deliveries and its mailbox are for the caller to see to.
 */
export async function removeEndpoint(world: RegistryWorld, id: string): Promise<Outcome<EndpointWithTopics>> {
  const { db, keyRing, tenantId } = world;
  const current = await findEndpoint(db, tenantId, id);
  if (current === null) return refuse({ code: "no-such-endpoint" });
  const before = await viewEndpoint(current, keyRing);
  await db.batch([...deleteEndpoint(db, tenantId, id), world.audit({ action: "endpoint.delete", target: id, before })]);
  await untilCachesExpired(Date.now());
  return accept(current);
}
