import type { DelivererApi } from "../delivery/contract.ts";
import type { StreamApi } from "./contract.ts";

/**
 * The object of a stream. The name is ours (`streamName`), so the tenant in it decides which object is reached.
 * The cast is where untyped RPC becomes the contract that `Stream` implements.
 */
export function streamStub(namespace: DurableObjectNamespace, stream: string): StreamApi {
  return namespace.getByName(stream) as unknown as StreamApi;
}

/** The Worker's own stateless entrypoint, through the loopback of `ctx.exports`; the cast states its contract. */
export function delivererOf(ctx: DurableObjectState): DelivererApi {
  const { Deliverer } = ctx.exports as unknown as { Deliverer: DelivererApi };
  return Deliverer;
}
