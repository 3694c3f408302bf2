import { describeError, log } from "../log.ts";
import { findOpenStreams } from "../storage/delivery-endpoints.ts";
import { streamStub } from "../streams/stub.ts";
import { untilCachesExpired } from "./freshness.ts";

/** Streams told at the same time: a Worker has six connections at once. */
const PARALLEL_STREAMS = 4;

type Env = Pick<Cloudflare.Env, "DB" | "STREAMS">;

/**
 * Tells every stream with open deliveries to the endpoint that it changed: what was held flows, or is cancelled when
 * the endpoint is gone. Never throws: what fails here is logged, and the stream's own alarm finds the deliveries later.
 */
export async function releaseEndpoint(env: Env, tenantId: string, endpointId: string): Promise<void> {
  try {
    const streams = (await findOpenStreams(env.DB, tenantId, endpointId)).values();
    await Promise.all(Array.from({ length: PARALLEL_STREAMS }, () => releaseNext(env, streams, endpointId)));
  } catch (error) {
    log("warn", "held deliveries wait for the alarm", { endpointId, error: describeError(error) });
  }
}

/**
 * Lets a resumed endpoint's deliveries flow: now, and once more when no isolate can take it for paused any longer, for
 * what was published in between was held again.
 */
export async function releaseResumed(env: Env, tenantId: string, endpointId: string, committedAtMs: number): Promise<void> {
  await releaseEndpoint(env, tenantId, endpointId);
  await untilCachesExpired(committedAtMs);
  await releaseEndpoint(env, tenantId, endpointId);
}

async function releaseNext(env: Env, streams: Iterator<string>, endpointId: string): Promise<void> {
  for (let next = streams.next(); next.done !== true; next = streams.next()) {
    try {
      await streamStub(env.STREAMS, next.value).release(next.value, endpointId);
    } catch (error) {
      log("warn", "held deliveries wait for the alarm", { endpointId, stream: next.value, error: describeError(error) });
    }
  }
}
