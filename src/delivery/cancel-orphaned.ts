import { findOrphaningEndpoints } from "../storage/overdue-streams.ts";
import { releaseEndpoint } from "./release.ts";

const ENDPOINTS_PER_RUN = 20;

/**
 * Has the open deliveries of deleted endpoints cancelled whose streams were not told of it: the process was killed
 * after the deletion, its answer got lost, or history did not know of them yet. How many endpoints that were.
 */
export async function cancelOrphaned(env: Pick<Cloudflare.Env, "DB" | "STREAMS">): Promise<number> {
  const deleted = await findOrphaningEndpoints(env.DB, ENDPOINTS_PER_RUN);
  for (const { tenantId, endpointId } of deleted) await releaseEndpoint(env, tenantId, endpointId);
  return deleted.length;
}
