import type { StreamApi } from "./contract.ts";

/**
 * The object of a stream. The name is ours (`streamName`), so the tenant in it decides which object is reached.
 * The cast is where untyped RPC becomes the contract that `Stream` implements.
 */
export function streamStub(namespace: DurableObjectNamespace, stream: string): StreamApi {
  return namespace.getByName(stream) as unknown as StreamApi;
}
