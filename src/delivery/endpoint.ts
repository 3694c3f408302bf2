import type { EndpointAuth } from "./endpoint-auth.ts";

/** How a push request is put on the wire (§4). */
export type DeliveryFormat = "raw" | "cloudevents" | "cloudevents-json";

export type EndpointStatus = "active" | "paused" | "disabled";

/** An endpoint as delivery needs it, opened (secrets and headers in clear); never serialised, never logged. */
export type DeliveryEndpoint = {
  readonly id: string;
  readonly tenantId: string;
  readonly kind: "push" | "pull";
  readonly url: string;
  /** `unallowed`: it is active, and its receiver has not yet allowed anything to be sent. */
  readonly status: EndpointStatus | "unallowed";
  /** What the gateway calls itself to an endpoint that asked for a handshake (CloudEvents webhooks §4.1.2). */
  readonly requestOrigin?: string;
  readonly format: DeliveryFormat;
  /** The endpoint's own headers, lower-case names. */
  readonly headers: Readonly<Record<string, string>>;
  /** Keys that sign now: the current one first, then those of a rotation's overlap. */
  readonly signingKeys: readonly CryptoKey[];
  /** The tenant's Ed25519 key, where the endpoint asks for `v1a` signatures too. */
  readonly asymmetricKey?: CryptoKey;
  /** How requests to it are authenticated, beside its headers. */
  readonly auth?: EndpointAuth;
  readonly timeoutSeconds: number;
  /** Seconds between attempts; `[]` means one attempt only. */
  readonly retryScheduleSeconds: readonly number[];
  /** Requests a second at most; null for no limit. */
  readonly rateLimit: number | null;
  /** Attempts under way at once at most; absent for no limit. */
  readonly maxConcurrency?: number;
  /** Deliveries in stream order, one at a time. */
  readonly ordered: boolean;
  /** Of an ordered one: in order for each value of this attribute; absent: all in one order. */
  readonly orderingKey?: string;
  /** Of a push endpoint: where messages go that pushing could not deliver. */
  readonly fallback: "pull" | null;
  /** Since when nothing but failures came back, ms; null while healthy. */
  readonly failingSinceMs: number | null;
};
