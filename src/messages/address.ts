/** Where a message is sent: a topic, a method of a queue, or a node (§1). */
export type Address =
  | { readonly kind: "topics"; readonly name: string }
  | { readonly kind: "queues"; readonly name: string; readonly method: string }
  | { readonly kind: "nodes"; readonly name: string };

/** The address as its consumers see it, in place of a topic. */
export function addressText(address: Address): string {
  return address.kind === "queues" ? `${address.name}/${address.method}` : address.name;
}
