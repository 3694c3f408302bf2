import type { DeliveryGroup } from "../streams/contract.ts";
import type { DeliveryResult } from "./outcome.ts";

/** The RPC face of the Worker's stateless `Deliverer` entrypoint. */
export interface DelivererApi {
  /**
   * Attempts every target of the group and returns what is known after a soft deadline; what takes longer is
   * settled with the stream one by one. Never answers with an error of a target.
   */
  deliver(group: DeliveryGroup): Promise<readonly DeliveryResult[]>;
}
