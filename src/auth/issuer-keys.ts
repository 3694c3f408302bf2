import { boundedFetch, type Fetch } from "../sns/bounded-fetch.ts";
import type { Issuer, JwtAlgorithm } from "./issuers.ts";
import { findKey, importKeySet, type VerifyingKey } from "./key-set.ts";

/** Up to this age keys are taken as they are; from then on they are read again, by one request, beside its work. */
const FRESH_MS = 10 * 60_000;
/** From this age on a request waits for keys to be read again, lest a long idle isolate trusts one that is revoked. */
const WAIT_FROM_MS = 60 * 60_000;
/** How long known keys outlive the last answer of their issuer. */
const MAX_STALE_MS = 24 * 60 * 60_000;
/** Between two fetches for keys that are not in a set we hold: the bound on what made-up key ids can cause. */
const COOL_DOWN_MS = 30_000;
/** The same while we hold no keys at all. */
const FIRST_COOL_DOWN_MS = 2_000;
const DEADLINE_MS = 5_000;
const MAX_JWKS_BYTES = 256 * 1024;
const POLL_MS = 10;

export type KeyLookup =
  | { readonly ok: true; readonly key: CryptoKey }
  /** `keys-unavailable`: the issuer does not answer, so that nobody can say whether the key is one of its. */
  | { readonly ok: false; readonly reason: "unknown-key" | "keys-unavailable" };

export type KeyWorld = {
  readonly fetch: Fetch;
  readonly sleep: (ms: number) => Promise<void>;
  /** Told about each fetch that brought no key set. */
  readonly onFailure: (issuer: string, reason: string) => void;
};

/** Whose key is wanted, and what of its request a fetch may use. */
export type KeyRequest = {
  readonly kid: string | undefined;
  readonly algorithm: JwtAlgorithm;
  readonly nowMs: number;
  readonly inBackground: (work: Promise<unknown>) => void;
};

type State = {
  keys: readonly VerifyingKey[];
  /** When they were asked for; before that there were none. */
  readAtMs: number;
  attemptedAtMs: number;
  /** Whether the last fetch that came to an end brought no keys. */
  lastFailed: boolean;
  /** When the fetch under way is over at the latest; it also ends with the request that made it. */
  fetchingUntilMs: number;
};

/**
 * The keys of the issuers, as an isolate knows them. No request awaits another one's promise, which workerd would take
 * for hung: who needs what is being fetched polls for it.
 */
export class IssuerKeys {
  readonly #world: KeyWorld;
  readonly #states = new Map<string, State>();

  constructor(world: KeyWorld) {
    this.#world = world;
  }

  async lookUp(issuer: Issuer, request: KeyRequest): Promise<KeyLookup> {
    const state = this.#stateOf(issuer);
    for (let nowMs = request.nowMs; ; nowMs += POLL_MS) {
      const key = nowMs - state.readAtMs < MAX_STALE_MS ? findKey(state.keys, request) : null;
      if (key !== null && !mustWait(state, nowMs)) {
        if (mayFetch(state, nowMs) && nowMs - state.readAtMs >= FRESH_MS) request.inBackground(this.#fetch(issuer, state, nowMs));
        return { ok: true, key };
      }
      if (mayFetch(state, nowMs)) await this.#fetch(issuer, state, nowMs);
      else if (nowMs < state.fetchingUntilMs) await this.#world.sleep(POLL_MS);
      else return { ok: false, reason: state.lastFailed ? "keys-unavailable" : "unknown-key" };
    }
  }

  #stateOf({ issuer }: Issuer): State {
    const known = this.#states.get(issuer);
    if (known !== undefined) return known;
    const never = Number.NEGATIVE_INFINITY;
    const state: State = { keys: [], readAtMs: never, attemptedAtMs: never, lastFailed: false, fetchingUntilMs: never };
    this.#states.set(issuer, state);
    return state;
  }

  async #fetch({ issuer, jwksUrl, algorithms }: Issuer, state: State, nowMs: number): Promise<void> {
    state.attemptedAtMs = nowMs;
    state.fetchingUntilMs = nowMs + DEADLINE_MS;
    const loaded = await this.#load(jwksUrl, algorithms);
    state.fetchingUntilMs = Number.NEGATIVE_INFINITY;
    state.lastFailed = typeof loaded === "string";
    if (typeof loaded === "string") return this.#world.onFailure(issuer, loaded);
    state.keys = loaded;
    state.readAtMs = nowMs;
  }

  async #load(jwksUrl: string, algorithms: Issuer["algorithms"]): Promise<VerifyingKey[] | string> {
    const fetched = await boundedFetch(this.#world.fetch, jwksUrl, { maxBytes: MAX_JWKS_BYTES, deadlineMs: DEADLINE_MS });
    if (!fetched.ok) return fetched.reason;
    if (fetched.status !== 200) return `status ${fetched.status}`;
    const keys = await importKeySet(fetched.body, algorithms);
    if (keys === null) return "not a JWKS";
    return keys.length === 0 ? "no key in it can be used" : keys;
  }
}

/** Whether one more fetch is due at all, and nobody is at it. */
function mayFetch({ keys, attemptedAtMs, fetchingUntilMs }: State, nowMs: number): boolean {
  const coolDownMs = keys.length === 0 ? FIRST_COOL_DOWN_MS : COOL_DOWN_MS;
  return nowMs >= fetchingUntilMs && nowMs - attemptedAtMs >= coolDownMs;
}

/** An issuer that just failed to answer is not waited for: that would stop all of its tokens' requests. */
function mustWait(state: State, nowMs: number): boolean {
  if (nowMs - state.readAtMs < WAIT_FROM_MS || state.lastFailed) return false;
  return mayFetch(state, nowMs) || nowMs < state.fetchingUntilMs;
}
