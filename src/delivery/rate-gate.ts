import { DurableObject } from "cloudflare:workers";
import { Permits } from "./permits.ts";
import { type Pace, RateSchedule } from "./rate-schedule.ts";

/** The RPC face of an endpoint's gate. */
export interface RateGateApi {
  reserve(count: number, perSecond: number, returning: boolean): Promise<Pace>;
  /** Leave for up to `count` attempts so that at most `max` are under way; it ends by itself after `lastsMs`. */
  take(count: number, max: number, lastsMs: number): Promise<readonly number[]>;
  giveBack(permit: number): Promise<void>;
}

/**
 * The one place that gives out turns and permits to an endpoint with a rate limit or a cap on what is under way, whatever
 * isolates deliver to it. It keeps nothing: after a restart it begins anew, a moment later than it might have.
 */
export class RateGate extends DurableObject<Cloudflare.Env> implements RateGateApi {
  readonly #schedule = new RateSchedule();
  readonly #permits = new Permits();

  async reserve(count: number, perSecond: number, returning: boolean): Promise<Pace> {
    return this.#schedule.reserve(count, perSecond, returning, Date.now());
  }

  async take(count: number, max: number, lastsMs: number): Promise<readonly number[]> {
    return this.#permits.take(count, max, lastsMs, Date.now());
  }

  async giveBack(permit: number): Promise<void> {
    this.#permits.giveBack(permit);
  }
}

/** The gate of an endpoint. The cast is where untyped RPC becomes the contract that `RateGate` implements. */
export function rateGate(namespace: DurableObjectNamespace, endpointId: string): RateGateApi {
  return namespace.getByName(endpointId) as unknown as RateGateApi;
}
