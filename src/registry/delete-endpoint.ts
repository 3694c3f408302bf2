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
  const deletion = db.batch([...deleteEndpoint(db, tenantId, id), world.audit({ action: "endpoint.delete", target: id, before })]);
  const failure = await deletion.then(() => null, (error: unknown) => ({ error }));
  await untilCachesExpired(Date.now());
  // What failed may be the answer only: who asks again must not be told that it is gone before that is so everywhere.
  if (failure !== null && (await findEndpoint(db, tenantId, id)) !== null) throw failure.error;
  return accept(current);
}
