import { directoryStub, subscriptionStub } from "./stub.ts";

export type SubscriptionObjects = { readonly subscriptions: DurableObjectNamespace; readonly directories: DurableObjectNamespace };

/** Removes all stream subscriptions of a tenant, and its directory: nobody is woken any more. Throws when one does not answer. */
export async function removeSubscriptions({ subscriptions, directories }: SubscriptionObjects, tenantId: string): Promise<void> {
  const directory = directoryStub(directories, tenantId);
  for (let ids = await directory.subscriptions(); ids.length > 0; ids = await directory.subscriptions()) {
    for (const id of ids) {
      const removed = await subscriptionStub(subscriptions, { tenantId, id }).remove();
      // what is listed and holds nothing was removed by half
      if (!removed.ok) await directory.removeSubscription(id);
    }
  }
  await directory.destroy();
}
