import { DurableObject } from "cloudflare:workers";
import { describeError, log } from "../../log.ts";
import { LiveWaiters } from "../live-waiters.ts";
import { appendGroup } from "./append-group.ts";
import { DEFAULT_CONTENT_TYPE, mediaType, unitsOf } from "./content.ts";
import type {
  AddForkRequest, AddForkResult, AppendRequest, AppendResult, CreateRequest, CreateResult, DurableStreamApi, ForkRefusal,
  Missing, RangeResult, ReadRequest, ReadResult, StreamInfo, Stretch,
} from "./contract.ts";
import { PendingAppends, type PendingAppend } from "./pending-appends.ts";
import { type ForkOrigin, type StreamState, StreamStore } from "./store.ts";
import { durableStreamStub } from "./stub.ts";

/** Rows of an ended stream that one alarm removes: at most some 64 MB. */
const DROP_ROWS = 64;
const RETRY_MS = 5_000;
const OVERLOADED_SECONDS = 2;

type TakenFork = { readonly ok: true; readonly origin: ForkOrigin; readonly info: StreamInfo } | { readonly ok: false; readonly code: ForkRefusal };

/**
 * One stream of a tenant's own, as the Durable Streams Protocol describes it. Method shapes and errors:
 * `DurableStreamApi`.
 */
export class DurableStream extends DurableObject<Cloudflare.Env> implements DurableStreamApi {
  readonly #store: StreamStore;
  readonly #pending = new PendingAppends();
  readonly #waiters = new LiveWaiters();
  /** Forks of this object whose source is being asked right now. */
  readonly #forking = new Set<string>();
  #committing = false;
  /** What the last reader at the tail was given: a thousand live readers ask for the same. */
  #lastRead: { readonly stretch: Stretch; readonly tail: number; readonly maxBytes: number } | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#store = new StreamStore(ctx.storage);
  }

  async create(request: CreateRequest): Promise<CreateResult> {
    const known = this.#answerExisting(request);
    if (known !== null) return known;
    const taken = request.fork === null ? null : await this.#takeFork(request);
    if (taken?.ok === false) return taken;
    try {
      // somebody else may have been faster while the source was asked
      return this.#answerExisting(request) ?? (await this.#createNew(request, taken));
    } finally {
      if (taken !== null) this.#forking.delete(taken.origin.forkId);
      this.#payDebts();
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
    await this.ctx.storage.sync();
  }

  async readRange(incarnation: string, from: number, to: number, maxBytes: number): Promise<RangeResult> {
    const { state, tail } = this.#store;
    if (state?.incarnation !== incarnation) return { ok: false, code: "not-found" };
    const inherited = inheritedOf(state, from, to);
    if (inherited !== null) return { ok: true, inherited };
    return { ok: true, stretch: this.#store.read(state, from, Math.min(to, tail), maxBytes) };
  }

  /** Ends what has expired, gives references back, and removes what is left of ended streams. */
  override async alarm(): Promise<void> {
    this.#live(Date.now());
    await this.#giveBackForks();
    const more = this.#store.dropRemains(DROP_ROWS);
    const { state } = this.#store;
    const owes = this.#store.owedForks().length > 0;
    if (more) await this.#wakeBy(Date.now());
    else if (owes) await this.#wakeBy(Date.now() + RETRY_MS);
    else if (state !== null) this.#watchExpiry(state);
    else if (this.#forking.size === 0 && this.#pending.isEmpty && !this.#committing) await this.#deleteEverything();
  }

  /** What a request to create gets when there is a stream already; null when there is none. */
  #answerExisting(request: CreateRequest): CreateResult | null {
    const state = this.#live(Date.now());
    if (state === "not-found") return null;
    if (state === "deleted") return { ok: false, code: "deleted" };
    if (!isSame(state, request)) return { ok: false, code: "conflict" };
    return { ok: true, created: false, info: this.#store.info(state) };
  }

  async #createNew(request: CreateRequest, taken: (TakenFork & { ok: true }) | null): Promise<CreateResult> {
    const { payload, closed } = request;
    const ownsExpiry = request.ttlSeconds !== null || request.expiresAt !== null || taken === null;
    const { ttlSeconds, expiresAt } = ownsExpiry ? request : taken.info;
    const state = this.#transact(() => {
      const created = this.#store.create({
        incarnation: crypto.randomUUID(),
        contentType: request.contentType ?? taken?.info.contentType ?? DEFAULT_CONTENT_TYPE,
        closed, closedBy: null, lastSeq: null, ttlSeconds, expiresAt,
        accessedAtMs: Date.now(),
        deleted: false,
        fork: taken?.origin ?? null,
      });
      if (payload !== null) this.#store.append(created, [payload], this.#store.tail + unitsOf(payload));
      if (taken !== null) this.#store.settleFork(taken.origin.forkId);
      return created;
    });
    this.#watchExpiry(state);
    await this.ctx.storage.sync();
    return { ok: true, created: true, info: this.#store.info(state) };
  }

  /** Takes a reference on the source. Should this be as far as we come, the alarm gives it back. */
  async #takeFork({ fork, contentType }: CreateRequest): Promise<TakenFork> {
    if (fork === null) throw new Error("not a fork");
    const forkId = crypto.randomUUID();
    this.#forking.add(forkId);
    this.#store.oweFork(forkId, fork.source);
    await this.#wakeBy(Date.now() + RETRY_MS);
    const { source, position, subOffset } = fork;
    const added = await durableStreamStub(this.env.DURABLE_STREAMS, source)
      .addFork({ forkId, position, subOffset, contentType })
      .catch((error: unknown) => {
        this.#forking.delete(forkId);
        throw error;
      });
    if (!added.ok) {
      this.#store.settleFork(forkId);
      this.#forking.delete(forkId);
      return added;
    }
    const { incarnation } = added.info;
    const origin = { forkId, source, incarnation, position: added.position, askedPosition: position, askedSubOffset: subOffset };
    return { ok: true, origin, info: added.info };
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
      await this.ctx.storage.sync();
      taken.forEach(({ resolve }, index) => resolve(results[index] ?? { ok: false, code: "not-found" }));
      this.#waiters.wakeAll();
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

  /** The stream as it is now, or why there is none: what has expired is gone from here on. */
  #live(nowMs: number): StreamState | "not-found" | "deleted" {
    const { state } = this.#store;
    if (state === null) return "not-found";
    if (state.deleted) return "deleted";
    const expiresAtMs = this.#store.expiresAtMs(state);
    if (expiresAtMs === null || nowMs < expiresAtMs) return state;
    this.#transact(() => this.#end(state));
    return this.#store.state === null ? "not-found" : "deleted";
  }

  /** Call within a transaction. What forks still read stays until the last of them is gone. */
  #end(state: StreamState): void {
    this.#lastRead = null;
    if (this.#store.hasForks()) this.#store.save({ ...state, deleted: true });
    else this.#store.end();
    this.#waiters.wakeAll();
    this.ctx.waitUntil(this.#wakeBy(Date.now()));
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

  #payDebts(): void {
    if (this.#store.owedForks().length > 0) this.ctx.waitUntil(this.#giveBackForks());
  }

  async #giveBackForks(): Promise<void> {
    for (const { forkId, source } of this.#store.owedForks()) {
      if (this.#forking.has(forkId)) continue;
      try {
        await durableStreamStub(this.env.DURABLE_STREAMS, source).removeFork(forkId);
        this.#store.settleFork(forkId);
      } catch (error) {
        log("warn", "durable-stream.fork-not-given-back", describeError(error)); // the alarm tries again
      }
    }
  }

  #watchExpiry(state: StreamState): void {
    const expiresAtMs = this.#store.expiresAtMs(state);
    if (expiresAtMs !== null && !state.deleted) this.ctx.waitUntil(this.#wakeBy(expiresAtMs));
  }

  async #wakeBy(atMs: number): Promise<void> {
    const setMs = await this.ctx.storage.getAlarm();
    if (setMs === null || setMs > atMs) await this.ctx.storage.setAlarm(atMs);
  }

  /** Nothing is left to keep: then the object takes no room either. */
  async #deleteEverything(): Promise<void> {
    await this.ctx.blockConcurrencyWhile(async () => {
      await this.ctx.storage.deleteAll();
      this.#store.forget();
    });
  }
}

function inheritedOf({ fork }: StreamState, from: number, to: number) {
  if (fork === null || from >= fork.position || from >= to) return null;
  return { source: fork.source, incarnation: fork.incarnation, from, to: Math.min(fork.position, to) };
}

/** Whether a request to create asks for the stream there is (§5.1). */
function isSame(state: StreamState, request: CreateRequest): boolean {
  const { fork } = state;
  const asked = request.fork;
  const contentType = request.contentType ?? (asked === null ? DEFAULT_CONTENT_TYPE : state.contentType);
  if (mediaType(contentType) !== mediaType(state.contentType) || request.closed !== state.closed) return false;
  const inheritsExpiry = asked !== null && request.ttlSeconds === null && request.expiresAt === null;
  const sameExpiry = request.ttlSeconds === state.ttlSeconds && request.expiresAt === state.expiresAt;
  if (!sameExpiry && !inheritsExpiry) return false;
  if (asked === null || fork === null) return asked === fork;
  const samePosition = asked.position === null || asked.position === (fork.askedPosition ?? fork.position);
  return asked.source === fork.source && samePosition && asked.subOffset === fork.askedSubOffset;
}
