/** The kinds of log a tenant has: one per topic, queue and node. */
export type StreamKind = "topics" | "queues" | "nodes";

/** Names one stream of one tenant. */
export type StreamRef = { readonly tenantId: string; readonly kind: StreamKind; readonly name: string };

/** The name of the stream's Durable Object: `tenant/kind/name`. The tenant is part of it, so none reaches another's. */
export function streamName(ref: StreamRef): string {
  return `${ref.tenantId}/${ref.kind}/${ref.name}`;
}

/** The inverse of {@link streamName}; throws on a string that is not one, for those come only from us. */
export function parseStreamName(text: string): StreamRef {
  const [tenantId, kind, ...rest] = text.split("/");
  const name = rest.join("/");
  if (tenantId === undefined || name === "" || (kind !== "topics" && kind !== "queues" && kind !== "nodes")) {
    throw new Error(`not a stream name: ${text}`);
  }
  return { tenantId, kind, name };
}
