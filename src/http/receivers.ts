import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { RecentReads } from "../recent-reads.ts";
import type { TenantLimits } from "../storage/limits.ts";
import { getSource, type SourceWithSecrets } from "../storage/sources.ts";
import { askAgain } from "./inbound-answer.ts";
import type { RequestWorld } from "./request-world.ts";
import { fail } from "./router.ts";
import { knownStanding, standingOf } from "./tenant-standings.ts";

/** A source whose tenant may receive now, and what that tenant may use. */
export type InboundReceiver = SourceWithSecrets & { readonly limits: TenantLimits };

const MAX_CACHED = 10_000;

/** Found sources by id; what was not found is asked again every time. */
const recentSources = new RecentReads<SourceWithSecrets>(CACHE_MAX_AGE_MS, MAX_CACHED);

/** The receiver, where that was settled within the last second; null also when it is time to settle it anew. */
export function knownReceiver(sourceId: string, nowMs: number): InboundReceiver | null {
  const found = recentSources.get(sourceId, nowMs);
  if (found === undefined || recentSources.isAging(sourceId, nowMs)) return null;
  const standing = knownStanding(found.source.tenantId, nowMs);
  return standing === null || standing.suspended ? null : { ...found, limits: standing.limits };
}

/**
 * The receiver, as of at most a second ago; in steady traffic nobody waits for the reads. Ends the request: 404 for a
 * source that is not there, 503 while its tenant is suspended, for the sender is to come again: who is refused for good
 * is only what does not verify.
 */
export async function receiverOf({ env: { DB: db }, inBackground }: RequestWorld, sourceId: string, nowMs: number): Promise<InboundReceiver> {
  const read = async (): Promise<SourceWithSecrets> => (await getSource(db, sourceId)) ?? noSuchSource();
  const found = await recentSources.getOrRead(sourceId, nowMs, read, inBackground);
  const standing = (await standingOf(db, found.source.tenantId, nowMs, inBackground)) ?? noSuchSource();
  if (standing.suspended) fail(askAgain("This source takes no messages now: send it again later."));
  return { ...found, limits: standing.limits };
}

function noSuchSource(): never {
  return fail({ code: "not-found", detail: "There is no source of that id." });
}
