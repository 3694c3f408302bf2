/** What of a stream a subscription is told: `incarnation` null where there is none at its path. */
export type Presence = { readonly incarnation: string | null; readonly tail: number };

/** Names one subscription of a tenant. */
export type SubscriptionRef = { readonly tenantId: string; readonly id: string };

/** How those who are to work on a subscription are woken: by a request, or by a message on a stream that they read. */
export type WakeChannel =
  | { readonly type: "webhook"; readonly url: string }
  | { readonly type: "pull-wake"; readonly wakeStream: string };

/** What a subscription was created with, every part in the one spelling of it. */
export type SubscriptionConfig = {
  readonly channel: WakeChannel;
  readonly pattern: string | null;
  /** Sorted, none twice. */
  readonly streams: readonly string[];
  readonly leaseMs: number;
  readonly description: string | null;
};

/** A stream of a subscription. Everything before `acked` was worked off; what is up to `tail` is pending. */
export type StreamLink = {
  readonly path: string;
  readonly isExplicit: boolean;
  readonly incarnation: string | null;
  readonly acked: number;
  readonly tail: number;
};

export type SubscriptionView = {
  readonly id: string;
  readonly config: SubscriptionConfig;
  readonly createdAtMs: number;
  /** The first of them, those with pending work before the others. */
  readonly links: readonly StreamLink[];
  readonly linkCount: number;
  readonly generation: number;
  /** Why the last attempt to wake anybody failed; null when it did not. */
  readonly lastError: string | null;
  readonly nextAttemptAtMs: number | null;
};

/** Which wake a request is about. */
export type WakeRef = { readonly wakeId: string; readonly generation: number };

export type Ack = { readonly path: string; readonly position: number };

export type AddStreamsResult = { readonly ok: true } | { readonly ok: false; readonly code: "too-many" | "wake-stream" } | NoSubscription;

export type NoSubscription = { readonly ok: false; readonly code: "not-found" };

export type CreateSubscriptionResult =
  | { readonly ok: true; readonly created: boolean; readonly view: SubscriptionView }
  | { readonly ok: false; readonly code: "exists" | "too-many" };

export type ClaimResult =
  | { readonly ok: true; readonly wake: WakeRef; readonly token: string; readonly links: readonly StreamLink[]; readonly leaseMs: number }
  | { readonly ok: false; readonly code: "already-claimed"; readonly holder: string; readonly generation: number }
  | { readonly ok: false; readonly code: "nothing-pending" | "not-pulled" }
  | NoSubscription;

export type AckResult =
  | { readonly ok: true; readonly nextWake: boolean }
  | { readonly ok: false; readonly code: "fenced" }
  /** `index`: which of the acks it is. */
  | { readonly ok: false; readonly code: "not-linked"; readonly index: number }
  | { readonly ok: false; readonly code: "beyond-tail"; readonly index: number; readonly tail: number }
  | NoSubscription;

/** The RPC face of the `StreamSubscription` object. Errors other than those listed are faults (retryable). */
export interface SubscriptionApi {
  /** `origin`: where the gateway is reached, for the URLs that a wake names. Answers before all streams are linked: {@link link}. */
  create(ref: SubscriptionRef, config: SubscriptionConfig, origin: string): Promise<CreateSubscriptionResult>;
  /** Links some more streams, as they are now; whether there may be others still. */
  link(): Promise<boolean>;
  describe(): Promise<{ readonly ok: true; readonly view: SubscriptionView } | NoSubscription>;
  remove(): Promise<{ readonly ok: true } | NoSubscription>;
  addStreams(paths: readonly string[]): Promise<AddStreamsResult>;
  removeStream(path: string): Promise<{ readonly ok: true } | NoSubscription>;
  /** A stream has changed; false when this subscription is not about it (any more). */
  told(path: string, presence: Presence): Promise<boolean>;
  claim(worker: string): Promise<ClaimResult>;
  /** Moves cursors, all of them or none; without `done` the lease begins anew, with it the wake is over. */
  ack(wake: WakeRef, acks: readonly Ack[], done: boolean): Promise<AckResult>;
  release(wake: WakeRef): Promise<{ readonly ok: true } | { readonly ok: false; readonly code: "fenced" } | NoSubscription>;
}

/** The RPC face of the `StreamDirectory` object: what streams and subscriptions a tenant has. */
export interface DirectoryApi {
  /** Notes that there is a stream; the subscriptions whose pattern covers it. */
  addStream(path: string): Promise<readonly string[]>;
  removeStream(path: string): Promise<void>;
  /** False when the tenant has as many as it may. */
  addSubscription(id: string, pattern: string | null): Promise<boolean>;
  removeSubscription(id: string): Promise<void>;
  /** Some of the tenant's subscriptions; none when there are none left. */
  subscriptions(): Promise<readonly string[]>;
  /** Removes everything: the object is as one that never was. */
  destroy(): Promise<void>;
  /**
   * Streams that were there before the subscription and that its pattern covers, after the path `after` ("" for the
   * first); `next` null when there are no more.
   */
  matching(id: string, after: string): Promise<{ readonly paths: readonly string[]; readonly next: string | null }>;
}
