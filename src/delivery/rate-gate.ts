import { DurableObject } from "cloudflare:workers";
import { type Pace, RateSchedule } from "./rate-schedule.ts";

/** The RPC face of an endpoint's gate. */
export interface RateGateApi {
  reserve(count: number, perSecond: number, returning: boolean): Promise<Pace>;
}

/**
 * The one place that gives out turns to an endpoint with a rate limit, whatever isolates deliver to it. It keeps
 * nothing: after a restart it begins anew, a moment later than it might have.
 */
export class RateGate extends DurableObject<Cloudflare.Env> implements RateGateApi {
  readonly #schedule = new RateSchedule();

  async reserve(count: number, perSecond: number, returning: boolean): Promise<Pace> {
    return this.#schedule.reserve(count, perSecond, returning, Date.now());
  }
}

/** The gate of an endpoint. The cast is where untyped RPC becomes the contract that `RateGate` implements. */
export function rateGate(namespace: DurableObjectNamespace, endpointId: string): RateGateApi {
  return namespace.getByName(endpointId) as unknown as RateGateApi;
}
