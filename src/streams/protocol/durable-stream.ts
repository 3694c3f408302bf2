import { DurableObject } from "cloudflare:workers";
import { describeError, log } from "../../log.ts";
import { pendingAlarm } from "../../pending-alarm.ts";
import { LiveWaiters } from "../live-waiters.ts";
import type { Presence } from "../subscriptions/contract.ts";
import { Announcer } from "./announcer.ts";
import { appendGroup } from "./append-group.ts";
import { DEFAULT_CONTENT_TYPE, isJsonMode, mediaType, unitsOf } from "./content.ts";
import type {
  AddForkRequest, AddForkResult, AppendRequest, AppendResult, CreateRequest, CreateResult, DurableStreamApi, Missing,
  RangeResult, ReadRequest, ReadResult, StreamInfo, Stretch,
} from "./contract.ts";
import { ForkLinks, inheritedOf, type TakenFork } from "./fork-links.ts";
import { listenersOf } from "./listeners.ts";
import { PendingAppends, type PendingAppend } from "./pending-appends.ts";
import { isSameStream } from "./same-stream.ts";
import { type StreamState, StreamStore } from "./store.ts";

/** Rows of an ended stream that one alarm removes: at most some 64 MB. */
const DROP_ROWS = 64;
const RETRY_MS = 5_000;
/** An alarm can not be set for the year 9999. */
const MAX_SLEEP_MS = 180 * 24 * 60 * 60 * 1000;
const OVERLOADED_SECONDS = 2;

/**
 * One stream of a tenant's own, as the Durable Streams Protocol describes it. Method shapes and errors:
 * `DurableStreamApi`.
 */
export class DurableStream extends DurableObject<Cloudflare.Env> implements DurableStreamApi {
  readonly #store: StreamStore;
  readonly #pending = new PendingAppends();
  readonly #waiters = new LiveWaiters();
  readonly #forks: ForkLinks;
  readonly #announcer: Announcer;
  #committing = false;
  /** What the last reader at the tail was given: a thousand live readers ask for the same. */
  #lastRead: { readonly stretch: Stretch; readonly tail: number; readonly maxBytes: number } | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#store = new StreamStore(ctx.storage);
    this.#forks = new ForkLinks(this.#store, env.DURABLE_STREAMS);
    this.#announcer = new Announcer(ctx.storage, listenersOf(env), () => this.#presence());
  }

  async create(request: CreateRequest): Promise<CreateResult> {
    const created = await this.#create(request);
    // Until its directory knows of it, no subscription does.
    if (created.ok && !(await this.#announcer.announce())) await this.#wakeBy(Date.now() + RETRY_MS);
    return created;
  }

  async #create(request: CreateRequest): Promise<CreateResult> {
    const known = this.#answerExisting(request);
    if (known !== null) return known;
    if (request.fork === null) return this.#createNew(request, null);
    const forkId = crypto.randomUUID();
    try {
      await this.#wakeBy(Date.now() + RETRY_MS); // should this be as far as we come
      const taken = await this.#forks.take(forkId, request.fork, request.contentType);
      if (!taken.ok) return taken;
      // somebody else may have been faster while the source was asked
      return this.#answerExisting(request) ?? (await this.#createNew(request, taken));
    } finally {
      this.#forks.release(forkId);
      if (this.#store.owedForks().length > 0) this.ctx.waitUntil(this.#forks.giveBack());
    }
  }

  async append(request: AppendRequest): Promise<AppendResult> {
    const result = this.#pending.push(request);
    if (!this.#committing) this.ctx.waitUntil(this.#commitAll());
    return result;
  }

  async head(): Promise<{ ok: true; info: StreamInfo } | Missing> {
    const state = this.#live(Date.now());
    return typeof state === "string" ? { ok: false, code: state } : { ok: true, info: this.#store.info(state) };
  }

  async read({ from: asked, maxBytes, waitMs }: ReadRequest): Promise<ReadResult> {
    const state = this.#live(Date.now());
    if (typeof state === "string") return { ok: false, code: state };
    const { tail } = this.#store;
    const from = asked === "start" ? 0 : asked === "now" ? tail : asked;
    if (from > tail) return { ok: false, code: "beyond-head", tail };
    this.#store.touch(Date.now());
    if (from < tail || state.closed || waitMs <= 0) return this.#readFrom(state, from, maxBytes);
    if (this.#waiters.isFull) return { ok: false, code: "overloaded", retryAfterSeconds: OVERLOADED_SECONDS };
    await this.#waiters.wait(waitMs);
    const later = this.#live(Date.now());
    if (typeof later === "string") return { ok: false, code: later };
    if (later.incarnation !== state.incarnation) return { ok: false, code: "not-found" };
    this.#store.touch(Date.now());
    return this.#readFrom(later, from, maxBytes);
  }

  async remove(): Promise<{ ok: true } | Missing> {
    const state = this.#live(Date.now());
    if (typeof state === "string") return { ok: false, code: state };
    this.#transact(() => this.#end(state));
    await this.#wakeBy(Date.now());
    await this.ctx.storage.sync();
    return { ok: true };
  }

  async addFork({ forkId, position, subOffset, contentType }: AddForkRequest): Promise<AddForkResult> {
    const state = this.#live(Date.now());
    if (typeof state === "string") return { ok: false, code: state === "deleted" ? "source-deleted" : "source-not-found" };
    if (contentType !== null && mediaType(contentType) !== mediaType(state.contentType)) return { ok: false, code: "source-type" };
    const { tail } = this.#store;
    const forkedAt = (position ?? tail) + subOffset;
    if (forkedAt > tail) return { ok: false, code: "fork-offset" };
    this.#store.addFork(forkId);
    await this.ctx.storage.sync();
    return { ok: true, position: forkedAt, info: this.#store.info(state) };
  }

  async removeFork(forkId: string): Promise<void> {
    this.#transact(() => {
      this.#store.removeFork(forkId);
      const { state } = this.#store;
      if (state?.deleted === true) this.#end(state);
    });
    await this.#wakeBy(Date.now());
    await this.ctx.storage.sync();
  }

  async destroy(): Promise<void> {
    this.#lastRead = null;
    this.#transact(() => this.#store.end());
    this.#waiters.wakeAll();
    await this.#forks.giveBack();
    if (this.#store.owedForks().length > 0) throw new Error("a reference on another stream could not be given back");
    await this.ctx.storage.deleteAlarm();
    await this.#deleteEverything();
  }

  async readRange(incarnation: string, from: number, to: number, maxBytes: number): Promise<RangeResult> {
    const { state, tail } = this.#store;
    if (state?.incarnation !== incarnation) return { ok: false, code: "not-found" };
    const inherited = inheritedOf(state, from, to);
    if (inherited !== null) return { ok: true, inherited };
    return { ok: true, stretch: this.#store.read(state, from, Math.min(to, tail), maxBytes) };
  }

  async tellFromNowOn(stream: string, subscriptionId: string): Promise<Presence> {
    this.#live(Date.now());
    return this.#transact(() => {
      this.#announcer.remember(stream);
      return this.#announcer.subscribe(subscriptionId);
    });
  }

  /** Ends what has expired, tells whoever was not told, gives references back, and removes what is left of ended streams. */
  override async alarm(): Promise<void> {
    this.#live(Date.now());
    await this.#forks.giveBack();
    const isAnnounced = await this.#announcer.announce();
    const more = this.#store.dropRemains(DROP_ROWS);
    const { state } = this.#store;
    const owes = this.#store.owedForks().length > 0;
    if (more) await this.#wakeBy(Date.now());
    else if (owes || !isAnnounced) await this.#wakeBy(Date.now() + RETRY_MS);
    else if (state !== null) await this.#watchExpiry(state);
    else if (this.#announcer.isEmpty && !this.#forks.isTaking && this.#pending.isEmpty && !this.#committing) await this.#deleteEverything();
  }

  /** What a request to create gets when there is a stream already; null when there is none. */
  #answerExisting(request: CreateRequest): CreateResult | null {
    const state = this.#live(Date.now());
    if (state === "not-found") return null;
    if (state === "deleted") return { ok: false, code: "deleted" };
    if (!isSameStream(state, request)) return { ok: false, code: "conflict" };
    return { ok: true, created: false, info: this.#store.info(state) };
  }

  async #createNew(request: CreateRequest, taken: (TakenFork & { ok: true }) | null): Promise<CreateResult> {
    const { payload, closed } = request;
    const contentType = request.contentType ?? taken?.info.contentType ?? DEFAULT_CONTENT_TYPE;
    // the source may be another one than the one the body was parsed for
    if (payload !== null && isJsonMode(contentType) !== (payload.lengths !== null)) return { ok: false, code: "source-type" };
    const ownsExpiry = request.ttlSeconds !== null || request.expiresAt !== null || taken === null;
    const { ttlSeconds, expiresAt } = ownsExpiry ? request : taken.info;
    const state = this.#transact(() => {
      const created = this.#store.create({
        incarnation: crypto.randomUUID(),
        contentType, closed, closedBy: null, lastSeq: null, ttlSeconds, expiresAt,
        accessedAtMs: Date.now(),
        deleted: false,
        fork: taken?.origin ?? null,
      });
      if (payload !== null) this.#store.append(created, [payload], this.#store.tail + unitsOf(payload));
      if (taken !== null) this.#store.settleFork(taken.origin.forkId);
      this.#announcer.remember(request.name);
      return created;
    });
    await this.#watchExpiry(state);
    await this.ctx.storage.sync();
    return { ok: true, created: true, info: this.#store.info(state) };
  }

  #readFrom(state: StreamState, from: number, maxBytes: number): ReadResult {
    const { tail } = this.#store;
    const info = this.#store.info(state);
    const inherited = inheritedOf(state, from, tail);
    if (inherited !== null) return { ok: true, info, inherited };
    const last = this.#lastRead;
    if (last?.stretch.from === from && last.tail === tail && last.maxBytes === maxBytes) return { ok: true, info, stretch: last.stretch };
    const stretch = this.#store.read(state, from, tail, maxBytes);
    if (stretch.next === tail) this.#lastRead = { stretch, tail, maxBytes };
    return { ok: true, info, stretch };
  }

  /** Commits what waits, one group after the other: everything that arrives during a disk write shares the next one. */
  async #commitAll(): Promise<void> {
    this.#committing = true;
    try {
      while (!this.#pending.isEmpty) {
        await scheduler.wait(0);
        await this.#commit(this.#pending.take());
      }
    } finally {
      this.#committing = false;
    }
  }

  async #commit(taken: readonly PendingAppend[]): Promise<void> {
    try {
      const results = this.#write(taken);
      if (this.#announcer.hasListeners) await this.#wakeBy(Date.now() + RETRY_MS); // should this process not get to tell them
      await this.ctx.storage.sync();
      if (this.#announcer.hasListeners) this.ctx.waitUntil(this.#announcer.announce());
      taken.forEach(({ resolve }, index) => resolve(results[index] ?? { ok: false, code: "not-found" }));
      if (results.some((result) => result.ok && !result.duplicate)) this.#waiters.wakeAll();
    } catch (error) {
      for (const { reject } of taken) reject(error);
    }
  }

  #write(taken: readonly PendingAppend[]): AppendResult[] {
    const nowMs = Date.now();
    const state = this.#live(nowMs);
    if (typeof state === "string") return taken.map(() => ({ ok: false, code: state }));
    return this.#transact(() => {
      const results = appendGroup(this.#store, state, taken.map(({ request }) => request));
      this.#store.touch(nowMs);
      return results;
    });
  }

  #presence(): Presence {
    const { state, tail } = this.#store;
    return state === null || state.deleted ? { incarnation: null, tail: 0 } : { incarnation: state.incarnation, tail };
  }

  /** The stream as it is now, or why there is none: what has expired is gone from here on. */
  #live(nowMs: number): StreamState | "not-found" | "deleted" {
    const { state } = this.#store;
    if (state === null) return "not-found";
    if (state.deleted) return "deleted";
    const expiresAtMs = this.#store.expiresAtMs(state);
    if (expiresAtMs === null || nowMs < expiresAtMs) return state;
    this.#transact(() => this.#end(state));
    this.ctx.waitUntil(this.#wakeBy(nowMs));
    return this.#store.state === null ? "not-found" : "deleted";
  }

  /** What forks still read stays until the last of them is gone. Call within a transaction; the alarm has to follow. */
  #end(state: StreamState): void {
    this.#lastRead = null;
    if (this.#store.hasForks()) this.#store.save({ ...state, deleted: true });
    else this.#store.end();
    this.#waiters.wakeAll();
  }

  /** What is in memory may be ahead of the disk when it fails: then the object starts again from the disk. */
  #transact<Value>(write: () => Value): Value {
    try {
      return this.ctx.storage.transactionSync(write);
    } catch (error) {
      log("error", "durable-stream.commit-failed", describeError(error));
      this.ctx.abort("commit failed");
      throw error;
    }
  }

  async #watchExpiry(state: StreamState): Promise<void> {
    const expiresAtMs = this.#store.expiresAtMs(state);
    if (expiresAtMs !== null && !state.deleted) await this.#wakeBy(expiresAtMs);
  }

  async #wakeBy(atMs: number): Promise<void> {
    const soonMs = Math.min(atMs, Date.now() + MAX_SLEEP_MS);
    const setMs = await pendingAlarm(this.ctx.storage, Date.now());
    if (setMs === null || setMs > soonMs) await this.ctx.storage.setAlarm(soonMs);
  }

  /** Nothing is left to keep: then the object takes no room either. */
  async #deleteEverything(): Promise<void> {
    await this.ctx.blockConcurrencyWhile(async () => {
      await this.ctx.storage.deleteAll();
      this.#store.forget();
      this.#announcer.forget();
    });
  }
}
