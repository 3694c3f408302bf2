import { DurableObject } from "cloudflare:workers";
import { pendingAlarm } from "../pending-alarm.ts";
import type { TakenMessage } from "./claim-check.ts";
import type { BoxedMessage, BoxSettings, MailboxObjectApi, Take, TakeOptions } from "./durable-object-contract.ts";
import { formatHandle, Leases } from "./durable-object-leases.ts";
import { BoxMessages } from "./durable-object-messages.ts";
import { createTables, hasTables } from "./durable-object-schema.ts";
import { Waiters } from "./durable-object-waiters.ts";
import type { BoxDepth, HandleResult } from "./mailbox.ts";

type Tables = { readonly messages: BoxMessages; readonly leases: Leases };

/** Held and given back at the same time; what is fresh waits then. SQS has such a bound too. */
const MAX_LEASES = 20_000;
/** A waiter whose turn it was and who did not come is gone: the next one gets it. */
const NO_SHOW_MS = 100;
const DEAD_RETENTION_MS = 14 * 24 * 60 * 60 * 1000;
const MIN_EXPIRY_INTERVAL_MS = 60_000;

/**
 * One mailbox, for deployments without AWS: messages in order, held by whoever received them until the visibility
 * timeout, and dead letters. Method shapes and errors: `MailboxObjectApi`.
 */
export class MailboxObject extends DurableObject<Cloudflare.Env> implements MailboxObjectApi {
  readonly #waiters = new Waiters();
  /** Null for a mailbox that was never sent to, or was removed. */
  #tables: Tables | null;
  /** No message before it is fresh. */
  #freshFrom = 0;
  #ordered = false;
  #wakeTimer: ReturnType<typeof setTimeout> | null = null;
  #alarmAtMs: number | null = null;
  #retentionSeconds: number | null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    const { sql, kv } = ctx.storage;
    this.#tables = hasTables(sql) ? openTables(sql) : null;
    this.#retentionSeconds = kv.get<number>("retentionSeconds") ?? null;
    void ctx.blockConcurrencyWhile(async () => {
      this.#alarmAtMs = await pendingAlarm(ctx.storage, Date.now());
    });
  }

  ping(): "pong" {
    return "pong";
  }

  async send(settings: BoxSettings, messages: readonly BoxedMessage[]): Promise<void> {
    const nowMs = Date.now();
    this.#ordered = settings.ordered;
    this.#tables ??= openTables(this.ctx.storage.sql);
    const tables = this.#tables;
    this.#write(() => {
      for (const message of messages) tables.messages.add(message, nowMs);
    });
    this.#keepFor(settings.retentionSeconds, nowMs);
    this.#wake();
  }

  async take(settings: BoxSettings, { max, visibilitySeconds, waitMs, place }: TakeOptions): Promise<Take> {
    this.#ordered = settings.ordered;
    const messages = this.#lease(settings, max, visibilitySeconds);
    if (messages.length > 0 || waitMs <= 0) return { messages, place: null };
    const held = place ?? this.#waiters.newPlace();
    const turn = this.#waiters.wait(held, max, waitMs);
    this.#watchLeases();
    await turn;
    return { messages: [], place: held };
  }

  async ack(handles: readonly string[]): Promise<readonly HandleResult[]> {
    return this.#settle(handles, ({ messages, leases }, seqs) => {
      messages.remove(seqs);
      leases.remove(seqs);
    });
  }

  async nack(handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[]> {
    const visibleAtMs = Date.now() + delaySeconds * 1000;
    return this.#settle(handles, ({ leases }, seqs) => leases.giveBack(seqs, visibleAtMs));
  }

  async extend(handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[]> {
    const visibleAtMs = Date.now() + visibilitySeconds * 1000;
    return this.#settle(handles, ({ leases }, seqs) => leases.extend(seqs, visibleAtMs));
  }

  async depth({ maxReceives }: BoxSettings): Promise<BoxDepth> {
    const nowMs = Date.now();
    if (this.#tables === null) return { visible: 0, inFlight: 0, dead: 0, oldestAgeSeconds: null };
    this.#bury(this.#tables, maxReceives, nowMs);
    const { messages, leases } = this.#tables;
    const inFlight = leases.hiddenCount(nowMs);
    const oldestMs = messages.oldestSentAtMs();
    return {
      visible: messages.count() - inFlight,
      inFlight,
      dead: messages.deadCount(),
      oldestAgeSeconds: oldestMs === null ? null : Math.max(0, Math.floor((nowMs - oldestMs) / 1000)),
    };
  }

  async purge(): Promise<void> {
    const tables = this.#tables;
    if (tables === null) return;
    this.#write(() => {
      tables.messages.clear();
      tables.leases.clear();
    });
  }

  async expunge({ id, offset }: { readonly id: string; readonly offset: number }): Promise<void> {
    const tables = this.#tables;
    if (tables === null) return;
    this.#write(() => tables.leases.remove(tables.messages.expunge(id, offset)));
  }

  async redrive({ maxReceives }: BoxSettings): Promise<number> {
    const nowMs = Date.now();
    const tables = this.#tables;
    if (tables === null) return 0;
    this.#bury(tables, maxReceives, nowMs);
    const count = this.#write(() => tables.messages.revive(nowMs));
    this.#wake();
    return count;
  }

  async remove(): Promise<void> {
    this.#tables = null;
    this.#freshFrom = 0;
    this.#retentionSeconds = null;
    this.#alarmAtMs = null;
    await this.ctx.storage.deleteAlarm();
    await this.ctx.storage.deleteAll();
  }

  /** Drops what has waited longer than it may; then sets the next alarm. */
  override async alarm(): Promise<void> {
    this.#alarmAtMs = null;
    const nowMs = Date.now();
    const tables = this.#tables;
    if (tables === null || this.#retentionSeconds === null) return;
    const retentionMs = this.#retentionSeconds * 1000;
    this.#write(() => tables.leases.remove(tables.messages.expire(nowMs - retentionMs, nowMs - DEAD_RETENTION_MS)));
    const oldestMs = tables.messages.oldestSentAtMs();
    const oldestDeadMs = tables.messages.oldestDeadSentAtMs();
    const nextMs = Math.min((oldestMs ?? Infinity) + retentionMs, (oldestDeadMs ?? Infinity) + DEAD_RETENTION_MS);
    if (Number.isFinite(nextMs)) this.#setAlarm(Math.max(nextMs, nowMs + MIN_EXPIRY_INTERVAL_MS));
  }

  #lease({ maxReceives }: BoxSettings, max: number, visibilitySeconds: number): TakenMessage[] {
    const nowMs = Date.now();
    const tables = this.#tables;
    if (tables === null) return [];
    this.#bury(tables, maxReceives, nowMs);
    const seqs = this.#ready(tables, max, nowMs);
    if (seqs.length === 0) return [];
    const lastFresh = seqs.findLast((seq) => !tables.leases.has(seq));
    const nonce = crypto.randomUUID().replaceAll("-", "");
    const visibleAtMs = nowMs + visibilitySeconds * 1000;
    this.#write(() => tables.leases.take(seqs, nonce, visibleAtMs));
    if (!this.#ordered && lastFresh !== undefined) this.#freshFrom = lastFresh + 1;
    const found = tables.messages.read(seqs);
    return seqs.flatMap((seq): TakenMessage[] => {
      const boxed = found.get(seq);
      if (boxed === undefined) return [];
      const { groupKey: _groupKey, reopenedAtMs: _reopenedAtMs, ...message } = boxed;
      return [{ ...message, receiveCount: tables.leases.receiveCount(seq), handle: formatHandle(seq, nonce) }];
    });
  }

  /** What may be received now, at most `limit`: what has come back first, then what is fresh; or the heads of groups. */
  #ready({ messages, leases }: Tables, limit: number, nowMs: number): number[] {
    if (this.#ordered) return messages.heads(limit, (seq) => leases.isHidden(seq, nowMs));
    const returned = leases.ended(nowMs).slice(0, limit);
    const room = Math.max(0, Math.min(limit - returned.length, MAX_LEASES - leases.size));
    return [...returned, ...messages.fresh(this.#freshFrom, room, (seq) => leases.has(seq))];
  }

  /** What has come back after its last receive is a dead letter. */
  #bury({ messages, leases }: Tables, maxReceives: number, nowMs: number): void {
    const exhausted = leases.ended(nowMs).filter((seq) => leases.receiveCount(seq) >= maxReceives);
    if (exhausted.length === 0) return;
    this.#write(() => {
      messages.bury(exhausted);
      leases.remove(exhausted);
    });
  }

  #settle(handles: readonly string[], apply: (tables: Tables, seqs: readonly number[]) => void): readonly HandleResult[] {
    const nowMs = Date.now();
    const tables = this.#tables;
    const gone: HandleResult = { ok: false, reason: "stale" };
    if (tables === null) return handles.map(() => gone);
    const held = new Set<number>();
    const results = handles.map((handle): HandleResult => {
      const seq = tables.leases.held(handle, nowMs);
      if (typeof seq !== "number") return seq;
      if (held.has(seq)) return gone; // twice in one call
      held.add(seq);
      return { ok: true };
    });
    if (held.size > 0) this.#write(() => apply(tables, [...held]));
    this.#wake();
    return results;
  }

  /** Lets those come for whom there is something, and looks again when there may be more or someone did not come. */
  #wake(): void {
    if (this.#waiters.isEmpty || this.#tables === null) return;
    const nowMs = Date.now();
    this.#waiters.wake(this.#ready(this.#tables, this.#waiters.wanted, nowMs).length);
    this.#watchLeases();
  }

  #watchLeases(): void {
    if (this.#waiters.isEmpty) return;
    if (this.#wakeTimer !== null) clearTimeout(this.#wakeTimer);
    const nowMs = Date.now();
    const someoneWasCalled = this.#tables !== null && this.#ready(this.#tables, 1, nowMs).length > 0;
    const nextMs = someoneWasCalled ? nowMs + NO_SHOW_MS : (this.#tables?.leases.nextEndMs(nowMs) ?? null);
    if (nextMs !== null) this.#wakeTimer = setTimeout(() => this.#wake(), Math.max(1, nextMs - nowMs));
  }

  /** All of it or nothing. What is in memory may be ahead of the disk after a failure: then start again from the disk. */
  #write<Result>(change: () => Result): Result {
    try {
      return this.ctx.storage.transactionSync(change);
    } catch (error) {
      this.ctx.abort("write failed");
      throw error;
    }
  }

  #keepFor(retentionSeconds: number, nowMs: number): void {
    if (retentionSeconds !== this.#retentionSeconds) {
      this.#retentionSeconds = retentionSeconds;
      this.ctx.storage.kv.put("retentionSeconds", retentionSeconds);
    }
    this.#setAlarm(nowMs + retentionSeconds * 1000);
  }

  #setAlarm(atMs: number): void {
    if (this.#alarmAtMs !== null && this.#alarmAtMs <= atMs) return;
    this.#alarmAtMs = atMs;
    this.ctx.waitUntil(this.ctx.storage.setAlarm(atMs));
  }
}

function openTables(sql: SqlStorage): Tables {
  createTables(sql);
  return { messages: new BoxMessages(sql), leases: new Leases(sql) };
}
