import type { BoxRef } from "./mailbox.ts";

/** SQS's longest: what a subscriber has not pulled by then is replayed from the stream. */
export const ENDPOINT_RETENTION_SECONDS = 1_209_600;
export const ENDPOINT_MAX_RECEIVES = 5;

/** The mailbox of a pull endpoint, or of a push endpoint that falls back to pull. */
export function boxOfEndpoint(endpoint: {
  readonly id: string;
  readonly tenantId: string;
  readonly ordered: boolean;
}): BoxRef {
  return {
    tenantId: endpoint.tenantId,
    kind: "endpoint",
    id: endpoint.id,
    ordered: endpoint.ordered,
    maxReceives: ENDPOINT_MAX_RECEIVES,
    retentionSeconds: ENDPOINT_RETENTION_SECONDS,
  };
}

/** The mailbox of a queue; never ordered, for its consumers compete. */
export function boxOfQueue(queue: {
  readonly tenantId: string;
  readonly name: string;
  readonly maxReceives: number;
  readonly retentionSeconds: number;
}): BoxRef {
  return {
    tenantId: queue.tenantId,
    kind: "queue",
    id: queue.name,
    ordered: false,
    maxReceives: queue.maxReceives,
    retentionSeconds: queue.retentionSeconds,
  };
}
