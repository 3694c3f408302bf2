import { describeError, log } from "../log.ts";
import { disableEndpoint, setEndpointHealth } from "../storage/endpoints.ts";
import type { AttemptReport } from "./attempt.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { healthChange } from "./verdict.ts";

/** Carries what attempts say of an endpoint into the control plane: only when its health turns, once a group. */
export class EndpointHealth {
  readonly #db: D1Database;
  readonly #told = new Set<string>();

  constructor(db: D1Database) {
    this.#db = db;
  }

  /** Never throws: an endpoint's health is told again by its next attempt. */
  async observe(endpoint: DeliveryEndpoint, report: AttemptReport): Promise<void> {
    const health = healthChange(endpoint, report);
    const key = `${endpoint.id} ${health.change}`;
    if (health.change === "none" || this.#told.has(key)) return;
    this.#told.add(key);
    try {
      switch (health.change) {
        case "started-failing":
          await setEndpointHealth(this.#db, endpoint.id, health.sinceMs);
          return;
        case "recovered":
          await setEndpointHealth(this.#db, endpoint.id, null);
          return;
        case "disable":
          await disableEndpoint(this.#db, endpoint.id, health.reason, report.record.startedAtMs);
          return;
      }
    } catch (error) {
      log("warn", "endpoint.health-not-saved", { endpointId: endpoint.id, change: health.change, error: describeError(error) });
    }
  }
}
