import type { DirectoryApi, SubscriptionApi, SubscriptionRef } from "./contract.ts";

/** The name of a subscription's object; the tenant is part of it, so none reaches another's. */
export function subscriptionName({ tenantId, id }: SubscriptionRef): string {
  return `${tenantId}/${id}`;
}

/** The cast is where untyped RPC becomes the contract that `StreamSubscription` implements. */
export function subscriptionStub(namespace: DurableObjectNamespace, ref: SubscriptionRef): SubscriptionApi {
  return namespace.getByName(subscriptionName(ref)) as unknown as SubscriptionApi;
}

/** A tenant's directory; the cast states the contract that `StreamDirectory` implements. */
export function directoryStub(namespace: DurableObjectNamespace, tenantId: string): DirectoryApi {
  return namespace.getByName(tenantId) as unknown as DirectoryApi;
}
