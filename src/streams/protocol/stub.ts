import type { DurableStreamApi } from "./contract.ts";

/** The name of the object of a tenant's own stream; the tenant is part of it, so none reaches another's. */
export function durableStreamName(tenantId: string, path: string): string {
  return `${tenantId}/${path}`;
}

/** The inverse of {@link durableStreamName}. */
export function parseDurableStreamName(name: string): { readonly tenantId: string; readonly path: string } {
  const slashAt = name.indexOf("/");
  return { tenantId: name.slice(0, slashAt), path: name.slice(slashAt + 1) };
}

/** The cast is where untyped RPC becomes the contract that `DurableStream` implements. */
export function durableStreamStub(namespace: DurableObjectNamespace, name: string): DurableStreamApi {
  return namespace.getByName(name) as unknown as DurableStreamApi;
}
