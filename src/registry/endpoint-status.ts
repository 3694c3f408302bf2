import type { EndpointStatus } from "../delivery/endpoint.ts";
import { changeStatus, findEndpoint, parseEndpoint, selectEndpoint } from "../storage/endpoints.ts";
import { insertStatusEvent } from "../storage/operator-events.ts";
import { type EndpointView, viewEndpoint } from "./endpoint-view.ts";
import { accept, type Outcome, refuse } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

export type Transition = "pause" | "resume" | "enable";

/** An endpoint in any other status stays as it is: only `enable` ends what disabled it. */
const TRANSITIONS = {
  pause: { from: "active", to: "paused" },
  resume: { from: "paused", to: "active" },
  enable: { from: "disabled", to: "active" },
} as const satisfies Record<Transition, { from: EndpointStatus; to: EndpointStatus }>;

/** Makes the transition where it applies; `changed` says whether it did. Doing it twice changes nothing. */
export async function changeEndpointStatus(
  world: RegistryWorld,
  id: string,
  transition: Transition,
): Promise<Outcome<{ readonly endpoint: EndpointView; readonly changed: boolean }>> {
  const { db, keyRing, tenantId, nowMs } = world;
  const current = await findEndpoint(db, tenantId, id);
  if (current === null) return refuse({ code: "no-such-endpoint" });
  const { from, to } = TRANSITIONS[transition];
  if (current.status !== from) return accept({ endpoint: await viewEndpoint(current, keyRing), changed: false });
  const results = await db.batch([
    changeStatus(db, tenantId, id, from, to, nowMs),
    ...(transition === "enable" ? [await insertStatusEvent(db, "postern.endpoint.enabled", { id, tenantId, status: to, reason: null }, nowMs)] : []),
    world.audit({
      action: `endpoint.${transition}`,
      target: id,
      before: { status: from, disabledReason: current.disabled_reason },
      after: { status: to, disabledReason: null },
    }),
    selectEndpoint(db, tenantId, id),
  ]);
  const changed = parseEndpoint(results.at(-1)?.results[0]);
  if (changed === null) return refuse({ code: "no-such-endpoint" });
  return accept({ endpoint: await viewEndpoint(changed, keyRing), changed: true });
}
