import { DurableObject } from "cloudflare:workers";
import { isolateOf } from "../../isolate.ts";
import { describeError, log } from "../../log.ts";
import { getTenant } from "../../storage/tenants.ts";
import { durableStreamName, durableStreamStub } from "../protocol/stub.ts";
import { announceWake } from "./announce-wake.ts";
import type {
  Ack, AckResult, AddStreamsResult, ClaimResult, CreateSubscriptionResult, NoSubscription, Presence, SubscriptionApi, SubscriptionConfig, SubscriptionRef,
  SubscriptionView, WakeRef,
} from "./contract.ts";
import { isOwnChannel, Linker } from "./linker.ts";
import { Links } from "./links.ts";
import { matchesPath, parseStreamPattern } from "./pattern.ts";
import { type SubscriptionRecord, SubscriptionStore } from "./record.ts";
import { directoryStub } from "./stub.ts";
import { announced, begin, claimed, ended, extended, isCurrent, isLeaseOver, nextEventMs, notAnnounced, type WakeState } from "./wake-rules.ts";
import { makeWakeToken } from "./wake-token.ts";

/** A wake, and an answer, show this many streams at most; pending work beyond it is of the next wake. */
const MAX_SHOWN_LINKS = 1_000;
const MAX_EXPLICIT_LINKS = 10_000;
/** Streams that are asked for news when a worker wants work and none is known. */
const MAX_ASKED = 100;
/** While something is under way, the object wakes this soon, also after the process was killed. */
const WATCH_MS = 5_000;

const NOT_FOUND: NoSubscription = { ok: false, code: "not-found" };

/**
 * One subscription of a tenant: durable cursors over streams, and the wakes that tell somebody of work on them
 * (protocol §6 and §7). Method shapes and errors: `SubscriptionApi`.
 */
export class StreamSubscription extends DurableObject<Cloudflare.Env> implements SubscriptionApi {
  readonly #store: SubscriptionStore;
  readonly #links: Links;
  readonly #linker: Linker;
  /** The wake that is being announced right now. */
  #announcing: string | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#store = new SubscriptionStore(ctx.storage.kv);
    this.#links = new Links(ctx.storage.sql);
    this.#linker = new Linker({ store: this.#store, links: this.#links, streams: env.DURABLE_STREAMS, directories: env.STREAM_DIRECTORIES });
  }

  async create(ref: SubscriptionRef, config: SubscriptionConfig, origin: string): Promise<CreateSubscriptionResult> {
    const { record } = this.#store;
    if (record !== null) {
      if (JSON.stringify(record.config) !== JSON.stringify(config)) return { ok: false, code: "exists" };
      this.#store.saveRecord({ ...record, origin });
      return { ok: true, created: false, view: this.#view(record) };
    }
    const backfillAfter = config.pattern === null ? null : "";
    const fresh: SubscriptionRecord = {
      ref, config, origin, instance: crypto.randomUUID(), createdAtMs: Date.now(), isRegistered: false, backfillAfter,
    };
    this.ctx.storage.transactionSync(() => {
      this.#links.createTables();
      this.#links.add(config.streams, true);
      this.#store.saveRecord(fresh);
    });
    const view = this.#view(fresh);
    await this.#schedule();
    if (!(await this.#linker.register(fresh))) {
      await this.#deleteEverything();
      return { ok: false, code: "too-many" };
    }
    return { ok: true, created: true, view };
  }

  async link(): Promise<boolean> {
    const more = await this.#linker.step();
    await this.#goOn(Date.now());
    return more;
  }

  async describe(): Promise<{ ok: true; view: SubscriptionView } | NoSubscription> {
    const { record } = this.#store;
    return record === null ? NOT_FOUND : { ok: true, view: this.#view(record) };
  }

  async remove(): Promise<{ ok: true } | NoSubscription> {
    const { record } = this.#store;
    if (record === null) return NOT_FOUND;
    await directoryStub(this.env.STREAM_DIRECTORIES, record.ref.tenantId).removeSubscription(record.ref.id);
    await this.#deleteEverything();
    return { ok: true };
  }

  async addStreams(paths: readonly string[]): Promise<AddStreamsResult> {
    const { record } = this.#store;
    if (record === null) return NOT_FOUND;
    if (paths.some((path) => isOwnChannel(record, path))) return { ok: false, code: "wake-stream" };
    const fresh = paths.filter((path) => this.#links.find(path)?.isExplicit !== true);
    if (this.#links.countExplicit() + fresh.length > MAX_EXPLICIT_LINKS) return { ok: false, code: "too-many" };
    this.ctx.storage.transactionSync(() => this.#links.add(fresh, true));
    await this.#schedule();
    return { ok: true };
  }

  async removeStream(path: string): Promise<{ ok: true } | NoSubscription> {
    const { record } = this.#store;
    if (record === null) return NOT_FOUND;
    const link = this.#links.find(path);
    if (link?.isExplicit !== true) return { ok: true };
    if (link.incarnation !== null && this.#covers(record, path)) this.#links.makeImplicit(path);
    else this.#links.unlink(path);
    return { ok: true };
  }

  async told(path: string, presence: Presence): Promise<boolean> {
    const { record } = this.#store;
    if (record === null) return false;
    const nowMs = Date.now();
    const link = this.#links.find(path);
    const isThere = presence.incarnation !== null;
    if (link === null) {
      if (!isThere || !this.#covers(record, path)) return false;
      this.#links.addNew(path, presence, nowMs);
    } else if (isThere || link.isExplicit) {
      this.#links.told(path, presence, nowMs);
    } else {
      this.#links.unlink(path);
      return false;
    }
    await this.#goOn(nowMs);
    return true;
  }

  async claim(worker: string): Promise<ClaimResult> {
    const { record } = this.#store;
    if (record === null) return NOT_FOUND;
    const { ref, config } = record;
    if (config.channel.type !== "pull-wake") return { ok: false, code: "not-pulled" };
    const nowMs = Date.now();
    this.#endLease(nowMs);
    if (this.#store.state.wake === null && !this.#links.hasPending) await this.#askForNews(record);
    // meanwhile others may have come, or it was deleted
    if (this.#store.record?.instance !== record.instance) return NOT_FOUND;
    const { wake, generation } = this.#store.state;
    if (wake?.stage === "held") return { ok: false, code: "already-claimed", holder: wake.holder ?? "", generation };
    if (wake === null && !this.#links.hasPending) return { ok: false, code: "nothing-pending" };
    const taken = claimed(wake === null ? this.#begun(nowMs) : this.#store.state, worker, config.leaseMs, nowMs);
    this.#store.saveState(taken);
    const links = this.#showLinks();
    await this.#schedule();
    const current = { wakeId: taken.wake?.id ?? "", generation: taken.generation };
    const token = await makeWakeToken(isolateOf(this.env).config.encryptionKeys, { ...ref, ...current });
    return { ok: true, wake: current, token, links, leaseMs: config.leaseMs };
  }

  async ack(asked: WakeRef, acks: readonly Ack[], done: boolean): Promise<AckResult> {
    const { record } = this.#store;
    if (record === null) return NOT_FOUND;
    await this.#learnTails(record, acks);
    const nowMs = Date.now();
    this.#endLease(nowMs);
    if (!isCurrent(this.#store.state, asked)) return { ok: false, code: "fenced" };
    const shown = new Map(this.#store.snapshot.map(({ path, incarnation }) => [path, incarnation]));
    for (const [index, { path, position }] of acks.entries()) {
      const link = this.#links.find(path);
      // one that was shown may have gone since: then there is no cursor to move
      if (link === null && !shown.has(path)) return { ok: false, code: "not-linked", index };
      const isSame = link !== null && link.incarnation === (shown.get(path) ?? link.incarnation);
      if (isSame && position > link.tail) return { ok: false, code: "beyond-tail", index, tail: link.tail };
    }
    this.ctx.storage.transactionSync(() => {
      for (const ack of acks) this.#links.ack(ack, shown.get(ack.path) ?? this.#links.find(ack.path)?.incarnation ?? null);
      this.#store.saveState(done ? ended(this.#store.state) : extended(this.#store.state, record.config.leaseMs, nowMs));
    });
    const nextWake = done && this.#links.hasPending;
    await this.#goOn(nowMs);
    return { ok: true, nextWake };
  }

  async release(asked: WakeRef): Promise<{ ok: true } | { ok: false; code: "fenced" } | NoSubscription> {
    if (this.#store.record === null) return NOT_FOUND;
    const nowMs = Date.now();
    this.#endLease(nowMs);
    if (!isCurrent(this.#store.state, asked)) return { ok: false, code: "fenced" };
    this.#store.saveState(ended(this.#store.state));
    await this.#goOn(nowMs);
    return { ok: true };
  }

  /** Ends leases, announces what is due, links what is left to link. */
  override async alarm(): Promise<void> {
    try {
      if (!this.#linker.isComplete) await this.#linker.step();
    } catch (error) {
      log("warn", "stream-subscription.not-linked", describeError(error));
    }
    await this.#goOn(Date.now());
  }

  /** Whatever is to be done now: called after every change. */
  async #goOn(nowMs: number): Promise<void> {
    if (this.#store.record === null) return;
    this.#endLease(nowMs);
    if (this.#store.state.wake === null && this.#links.hasPending) this.#store.saveState(this.#begun(nowMs));
    await this.#schedule();
    const { wake, nextAttemptAtMs } = this.#store.state;
    const isDue = wake?.stage === "announcing" && nextAttemptAtMs !== null && nextAttemptAtMs <= nowMs;
    if (isDue && this.#announcing !== wake.id) this.ctx.waitUntil(this.#announce(wake.id));
  }

  #endLease(nowMs: number): void {
    if (isLeaseOver(this.#store.state, nowMs)) this.#store.saveState(ended(this.#store.state));
  }

  #begun(nowMs: number): WakeState {
    return begin(this.#store.state, `w_${crypto.randomUUID().replaceAll("-", "")}`, nowMs);
  }

  async #announce(wakeId: string): Promise<void> {
    const { record, state } = this.#store;
    if (record === null) return;
    const { config, world } = isolateOf(this.env);
    this.#announcing = wakeId;
    const links = this.#showLinks();
    const { leaseMs, channel } = record.config;
    const told = await this.#isOrphan(record.ref)
      ? null
      : await announceWake(
          { record, wake: { wakeId, generation: state.generation }, links },
          { attempt: world, keys: config.encryptionKeys, streams: this.env.DURABLE_STREAMS },
        );
    this.#announcing = null;
    if (this.#store.record?.instance !== record.instance) return;
    if (told === null) return this.#deleteEverything();
    const nowMs = Date.now();
    if (told.ok && told.done) await this.ack({ wakeId, generation: state.generation }, this.#shownEnds(), true);
    else if (told.ok) this.#store.saveState(announced(this.#store.state, wakeId, channel, leaseMs, nowMs));
    else {
      log("warn", "stream-subscription.wake-failed", { subscription: record.ref.id, tenant: record.ref.tenantId, detail: told.detail });
      this.#store.saveState(notAnnounced(this.#store.state, wakeId, told.detail, nowMs, Math.random()));
    }
    await this.#goOn(nowMs);
  }

  /** The tenant was deleted: nobody is to be woken for it any more. While that can not be found out, it was not. */
  async #isOrphan({ tenantId }: SubscriptionRef): Promise<boolean> {
    try {
      return (await getTenant(this.env.DB, tenantId)) === null;
    } catch (error) {
      log("warn", "stream-subscription.tenant-unknown", describeError(error));
      return false;
    }
  }

  /** The streams as whoever works on this wake is shown them, which is what a plain `done` is about. */
  #showLinks() {
    const links = this.#links.first(MAX_SHOWN_LINKS);
    this.#store.saveSnapshot(links.map(({ path, incarnation, tail }) => ({ path, incarnation, tail })));
    return links;
  }

  #shownEnds(): Ack[] {
    return this.#store.snapshot.map(({ path, tail }) => ({ path, position: tail }));
  }

  /** Where streams are now, of which news may be on its way. */
  async #askForNews(record: SubscriptionRecord): Promise<void> {
    await Promise.all(this.#links.recent(MAX_ASKED).map((path) => this.#learnTail(record, path)));
  }

  /** Somebody may have read further than this object was told yet. */
  async #learnTails(record: SubscriptionRecord, acks: readonly Ack[]): Promise<void> {
    const ahead = acks.filter(({ path, position }) => position > (this.#links.find(path)?.tail ?? position));
    await Promise.all(ahead.map(({ path }) => this.#learnTail(record, path)));
  }

  async #learnTail({ ref, instance }: SubscriptionRecord, path: string): Promise<void> {
    const head = await durableStreamStub(this.env.DURABLE_STREAMS, durableStreamName(ref.tenantId, path)).head();
    if (head.ok && this.#store.record?.instance === instance) this.#links.reached(path, head.info);
  }

  #covers(record: SubscriptionRecord, path: string): boolean {
    const { pattern } = record.config;
    if (pattern === null || isOwnChannel(record, path)) return false;
    const parsed = parseStreamPattern(pattern);
    return parsed.ok && matchesPath(parsed.pattern, path);
  }

  #view({ ref, config, createdAtMs }: SubscriptionRecord): SubscriptionView {
    const { generation, failures, lastError, nextAttemptAtMs } = this.#store.state;
    const isFailing = failures > 0;
    return {
      id: ref.id, config, createdAtMs, generation,
      links: this.#links.first(MAX_SHOWN_LINKS),
      linkCount: this.#links.count(),
      lastError: isFailing ? lastError : null,
      nextAttemptAtMs: isFailing ? nextAttemptAtMs : null,
    };
  }

  async #schedule(): Promise<void> {
    const watchMs = Date.now() + WATCH_MS;
    const isBusy = this.#announcing !== null || !this.#linker.isComplete;
    const nextMs = nextEventMs(this.#store.state);
    const wakes = [isBusy ? watchMs : null, nextMs === null ? null : Math.max(nextMs, Date.now() + 1)].filter((wake) => wake !== null);
    if (wakes.length === 0) return;
    const atMs = Math.min(...wakes);
    const setMs = await this.ctx.storage.getAlarm();
    if (setMs === null || setMs > atMs) await this.ctx.storage.setAlarm(atMs);
  }

  async #deleteEverything(): Promise<void> {
    await this.ctx.blockConcurrencyWhile(async () => {
      await this.ctx.storage.deleteAlarm();
      await this.ctx.storage.deleteAll();
      this.#store.forget();
    });
  }
}
