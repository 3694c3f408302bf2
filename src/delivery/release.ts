import { describeError, log } from "../log.ts";
import { findOpenStreams } from "../storage/delivery-endpoints.ts";
import { streamStub } from "../streams/stub.ts";
import { untilCachesExpired } from "./freshness.ts";

/** When D1 or a stream did not answer it is asked again after these, ms; then the alarm's probes have to find it. */
const RETRY_AFTER_MS = [500, 2_000, 8_000] as const;
/** History knows by then of every delivery that was open at a change, and so which streams to tell. */
const HISTORY_KNOWS_AFTER_MS = 3_000;
/** Streams told at the same time: a Worker has six connections at once. */
const PARALLEL_STREAMS = 4;

type Env = Pick<Cloudflare.Env, "DB" | "STREAMS">;

/**
 * Tells every stream with open deliveries to the endpoint that it changed: what was held flows, or is cancelled when
 * the endpoint is gone. Never throws: what fails here is logged, and the stream's own alarm finds the deliveries later.
 * Leaves out the streams that `know` of it; gives those that know now.
 */
export async function releaseEndpoint(env: Env, tenantId: string, endpointId: string, know: ReadonlySet<string> = new Set()): Promise<ReadonlySet<string>> {
  const streams = await retried(() => findOpenStreams(env.DB, tenantId, endpointId), { endpointId });
  const untold = new Set(streams ?? []).difference(know);
  const next = untold.values();
  await Promise.all(Array.from({ length: PARALLEL_STREAMS }, () => releaseNext(env, next, endpointId)));
  return know.union(untold);
}

/** Calls until it succeeds, or it was tried often enough: then what failed is logged, and null. */
async function retried<Result>(call: () => Promise<Result>, what: Readonly<Record<string, string>>): Promise<Result | null> {
  for (const waitMs of [...RETRY_AFTER_MS, null]) {
    try {
      return await call();
    } catch (error) {
      log("warn", waitMs === null ? "held deliveries wait for the alarm" : "release.retried", { ...what, error: describeError(error) });
      if (waitMs !== null) await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }
  return null;
}

/**
 * Lets a resumed endpoint's deliveries flow: now, and once more when no isolate can take it for paused any longer, for
 * what was published in between was held again; and in the end in streams that history has only learned of since, whose
 * attempts were under way.
 */
export async function releaseResumed(env: Env, tenantId: string, endpointId: string, committedAtMs: number): Promise<void> {
  await releaseEndpoint(env, tenantId, endpointId);
  await untilCachesExpired(committedAtMs);
  const know = await releaseEndpoint(env, tenantId, endpointId);
  await untilCachesExpired(committedAtMs + HISTORY_KNOWS_AFTER_MS);
  await releaseEndpoint(env, tenantId, endpointId, know);
}

async function releaseNext(env: Env, streams: Iterator<string>, endpointId: string): Promise<void> {
  for (let next = streams.next(); next.done !== true; next = streams.next()) {
    const stream = next.value;
    await retried(() => streamStub(env.STREAMS, stream).release(stream, endpointId), { endpointId, stream });
  }
}
