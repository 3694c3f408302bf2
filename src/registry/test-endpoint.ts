import { type AttemptWorld, attemptDelivery } from "../delivery/attempt.ts";
import { openDeliveryEndpoint } from "../delivery/open-endpoint.ts";
import type { AttemptRecord } from "../delivery/outcome.ts";
import { newId } from "../ids.ts";
import { isTarget } from "../messages/topic.ts";
import { newTraceparent } from "../messages/traceparent.ts";
import { findDeliveryEndpoints, findEndpoint } from "../storage/endpoints.ts";
import { accept, type Outcome, refuse } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

const DEFAULT_TOPIC = "postern.test";

/** An attempt that belongs to no delivery. */
export type TestAttempt = AttemptRecord & { readonly id: string };

/**
 * Sends one example message now, whatever the endpoint's status, and returns the attempt. It is in no stream and no
 * history, is not retried, and neither helps nor harms the endpoint's record.
 */
export async function testEndpoint(
  world: Pick<RegistryWorld, "db" | "keyRing" | "tenantId" | "nowMs">,
  attemptWorld: AttemptWorld,
  id: string,
  input: { readonly topic?: string | undefined; readonly data?: unknown },
): Promise<Outcome<TestAttempt>> {
  const { db, keyRing, tenantId, nowMs } = world;
  if (input.topic !== undefined && !isTarget(input.topic)) {
    const detail = "must be a topic such as orders.created, without wildcards";
    return refuse({ code: "malformed-target", faults: [{ pointer: "/topic", detail }] });
  }
  const endpoint = await findEndpoint(db, tenantId, id);
  if (endpoint === null) return refuse({ code: "no-such-endpoint" });
  if (endpoint.kind === "pull") return refuse({ code: "pull-endpoint" });
  if (endpoint.handshake === "waiting") return refuse({ code: "unallowed" });
  const [row] = await findDeliveryEndpoints(db, [id], nowMs);
  if (row === undefined) return refuse({ code: "no-such-endpoint" });

  const topic = input.topic ?? endpoint.topics.find(isTarget) ?? DEFAULT_TOPIC;
  const data = input.data === undefined ? { type: topic, message: "This is a test from Postern." } : input.data;
  const message = {
    id: newId("msg", nowMs, attemptWorld.fillRandom),
    offset: 0,
    timeMs: nowMs,
    contentType: "application/json",
    attributes: {},
    traceparent: newTraceparent(attemptWorld.fillRandom),
    body: new TextEncoder().encode(JSON.stringify(data)),
  };
  const report = await attemptDelivery(await openDeliveryEndpoint(row, keyRing), message, topic, 1, attemptWorld);
  return accept({ id: newId("att", nowMs, attemptWorld.fillRandom), ...report.record });
}
