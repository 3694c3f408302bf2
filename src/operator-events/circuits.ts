import { noteClosedCircuit, noteOpenCircuit } from "../storage/endpoint-circuits.ts";
import type { Circuit } from "../streams/flow-control.ts";
import { parseStreamName } from "../streams/ref.ts";
import { storedEvent } from "./event.ts";
import { tryPublishOperatorEvents } from "./publish-pending.ts";

/**
 * Tells the control plane that a circuit of a stream is open or was probed again, or (null) that it is closed; operators,
 * when it is the endpoint's first that opened, or last that closed.
 */
export async function tellCircuit(env: Cloudflare.Env, stream: string, endpointId: string, circuit: Circuit | null): Promise<void> {
  if (circuit === null) await tellClosed(env, stream, endpointId, Date.now());
  else await tellOpen(env, stream, endpointId, circuit);
  await tryPublishOperatorEvents(env);
}

async function tellOpen(env: Cloudflare.Env, stream: string, endpointId: string, circuit: Circuit): Promise<void> {
  const { tenantId } = parseStreamName(stream);
  const { openedAtMs, probeAtMs, failures, attempts } = circuit;
  const event = await storedEvent({
    tenantId,
    topic: "postern.endpoint.circuit-opened",
    timeMs: openedAtMs,
    key: `${endpointId} ${openedAtMs}`,
    attributes: { endpoint: endpointId },
    data: { endpointId, failures, attempts, probeAt: new Date(probeAtMs).toISOString() },
  });
  await noteOpenCircuit(env.DB, { tenantId, stream, endpointId, openedAtMs, probeAtMs }, event);
}

async function tellClosed(env: Cloudflare.Env, stream: string, endpointId: string, nowMs: number): Promise<void> {
  const { tenantId } = parseStreamName(stream);
  const event = await storedEvent({
    tenantId,
    topic: "postern.endpoint.circuit-closed",
    timeMs: nowMs,
    key: `${endpointId} ${nowMs}`,
    attributes: { endpoint: endpointId },
    data: { endpointId },
  });
  await noteClosedCircuit(env.DB, { stream, endpointId }, event);
}
