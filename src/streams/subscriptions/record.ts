import type { SubscriptionConfig, SubscriptionRef } from "./contract.ts";
import { NEVER_WOKEN, type WakeState } from "./wake-rules.ts";

/** One subscription, from its creation on. */
export type SubscriptionRecord = {
  readonly ref: SubscriptionRef;
  /** Differs for every subscription that ever had this id. */
  readonly instance: string;
  readonly config: SubscriptionConfig;
  /** Where the gateway is reached: what a wake names begins with it. */
  readonly origin: string;
  readonly createdAtMs: number;
  /** Whether the directory knows of it. */
  readonly isRegistered: boolean;
  /** After which path streams that the pattern covers are still to be linked; null when all are. */
  readonly backfillAfter: string | null;
};

/** The end of a stream as a wake showed it. */
export type Shown = { readonly path: string; readonly incarnation: string | null; readonly tail: number };

const RECORD_KEY = "subscription";
const STATE_KEY = "wake";
const SNAPSHOT_KEY = "snapshot";

/** What a subscription's object keeps beside its links; the wake's snapshot apart, for it is large and written once. */
export class SubscriptionStore {
  readonly #kv: SyncKvStorage;
  #record: SubscriptionRecord | null;
  #state: WakeState;

  constructor(kv: SyncKvStorage) {
    this.#kv = kv;
    this.#record = kv.get<SubscriptionRecord>(RECORD_KEY) ?? null;
    this.#state = kv.get<WakeState>(STATE_KEY) ?? NEVER_WOKEN;
  }

  get record(): SubscriptionRecord | null {
    return this.#record;
  }

  get state(): WakeState {
    return this.#state;
  }

  /** What the wake there is showed whoever works on it. */
  get snapshot(): readonly Shown[] {
    return this.#kv.get<readonly Shown[]>(SNAPSHOT_KEY) ?? [];
  }

  saveRecord(record: SubscriptionRecord): void {
    this.#kv.put(RECORD_KEY, record);
    this.#record = record;
  }

  saveState(state: WakeState): void {
    this.#kv.put(STATE_KEY, state);
    this.#state = state;
  }

  saveSnapshot(snapshot: readonly Shown[]): void {
    this.#kv.put(SNAPSHOT_KEY, snapshot);
  }

  /** Everything on disk was removed. */
  forget(): void {
    this.#record = null;
    this.#state = NEVER_WOKEN;
  }
}
