import { describeError, log } from "../log.ts";
import { tryPublishOperatorEvents } from "../operator-events/publish-pending.ts";
import { disableEndpoint, findEndpointAddresses, setEndpointHealth } from "../storage/endpoints.ts";
import type { AttemptReport } from "./attempt.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { releaseResumed } from "./release.ts";
import { changedAddresses, releaseAddresses } from "./release-addresses.ts";
import { type HealthChange, healthChange } from "./verdict.ts";

/** Carries what attempts say of an endpoint into the control plane: only when its health turns, once a group. */
export class EndpointHealth {
  readonly #env: Cloudflare.Env;
  readonly #told = new Set<string>();

  constructor(env: Cloudflare.Env) {
    this.#env = env;
  }

  /** Null when nothing changed, as nearly always. Never rejects: an endpoint's health is told again by its next attempt. */
  observe(endpoint: DeliveryEndpoint, report: AttemptReport): Promise<void> | null {
    const health = healthChange(endpoint, report);
    if (health.change === "none") return null;
    const key = `${endpoint.id} ${health.change}`;
    if (this.#told.has(key)) return null;
    this.#told.add(key);
    return this.#save(endpoint, health, report.record.startedAtMs);
  }

  async #save(endpoint: DeliveryEndpoint, health: HealthChange, atMs: number): Promise<void> {
    try {
      switch (health.change) {
        case "started-failing":
          await setEndpointHealth(this.#env.DB, endpoint.id, health.sinceMs);
          return;
        case "recovered":
          await setEndpointHealth(this.#env.DB, endpoint.id, null);
          return;
        case "disable":
          await this.#disable(endpoint, health.reason, atMs);
          return;
        case "none":
          return;
      }
    } catch (error) {
      log("warn", "endpoint.health-not-saved", { endpointId: endpoint.id, change: health.change, error: describeError(error) });
    }
  }

  /** What waits for it in a queue goes to the other members or can be pulled; what falls back to its mailbox, does so now. */
  async #disable(endpoint: DeliveryEndpoint, reason: string, atMs: number): Promise<void> {
    const { id, tenantId, fallback } = endpoint;
    if (!(await disableEndpoint(this.#env.DB, endpoint, reason, atMs))) return;
    const disabledAtMs = Date.now();
    const after = await findEndpointAddresses(this.#env.DB, tenantId, id);
    const before = after === null ? null : ({ ...after, status: "active" } as const);
    await Promise.all([
      releaseAddresses(this.#env, tenantId, changedAddresses(before, after), disabledAtMs),
      tryPublishOperatorEvents(this.#env),
      fallback === "pull" ? releaseResumed(this.#env, tenantId, id, disabledAtMs) : undefined,
    ]);
  }
}
