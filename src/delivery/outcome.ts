/** Why an attempt failed without a response, or why its response counts as a failure. */
export type AttemptError =
  | "timed-out"
  | "connection-failed"
  | "address-refused"
  /** The name's addresses could not be looked up: nothing was sent. */
  | "address-unresolved"
  /** No token could be had to authenticate with: nothing was sent. */
  | "authentication-failed"
  | "redirect-refused"
  | "status"
  | "signing-failed";

/** One request that was made (or refused by the address guard), as history shows it. */
export type AttemptRecord = {
  readonly startedAtMs: number;
  readonly durationMs: number;
  readonly statusCode: number | null;
  /** Machine-readable reason and a sentence; null after a success. */
  readonly error: { readonly code: AttemptError; readonly detail: string } | null;
  /** The first 4 KiB of the response body, as text. */
  readonly responseBody: string;
};

/** What becomes of the delivery; decided where the endpoint is known, applied by the stream. */
export type Verdict =
  | { readonly status: "delivered" }
  /**
   * To be tried again; `counted` is false when no request was made (no room, D1 unreachable), and it is `busy` when
   * that is because its endpoint has as many under way as it may.
   */
  | { readonly status: "open"; readonly nextAttemptAtMs: number; readonly counted: boolean; readonly busy?: true }
  /**
   * Waits for the endpoint to be resumed or enabled, or allowed by its receiver; `counted` when it was an attempt that
   * showed it.
   */
  | { readonly status: "held"; readonly reason: "paused" | "disabled" | "unallowed" | "no-such-node"; readonly counted?: true }
  | { readonly status: "dead"; readonly reason: string }
  | { readonly status: "cancelled"; readonly reason: string };

/**
 * Which delivery of a stream: message × target. The target is an endpoint (`ep_…`) or, resolved anew at each attempt,
 * `queue:<name>` (in a topic's stream: the message becomes one of that queue), `member` (in a queue's: one of its
 * members) or `node` (in a node's: the endpoint that has the name).
 */
export type DeliveryRef = { readonly offset: number; readonly endpointId: string };

export type DeliveryResult = DeliveryRef & {
  readonly verdict: Verdict;
  readonly attempt?: AttemptRecord;
  /** Whose attempt it was, where the target is not an endpoint. */
  readonly by?: string;
};
