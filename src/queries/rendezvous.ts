import { DurableObject } from "cloudflare:workers";
import type { QueryAnswer } from "../delivery/attempt.ts";
import { pendingAlarm } from "../pending-alarm.ts";
import type { AnswerResult, RendezvousApi, Waited } from "./contract.ts";
import { QueryTable } from "./query-table.ts";

/** Kept this long after the deadline, so that a late answer and a second one are told what they are. */
const KEPT_MS = 10 * 60 * 1000;
const SWEEP_INTERVAL_MS = 60_000;

type Waiter = { readonly resolve: (waited: Waited) => void; readonly timer: ReturnType<typeof setTimeout> };

const TIMED_OUT: Waited = { ok: false, code: "timed-out" };

/**
 * Where callers of queries wait for their answers. An object apart from the queue's stream, so that an answer finds
 * its caller however busy that is; what was asked is on disk, so that a caller whose wait broke off may wait again.
 * Method shapes and errors: `RendezvousApi`.
 */
export class Rendezvous extends DurableObject<Cloudflare.Env> implements RendezvousApi {
  readonly #queries: QueryTable;
  /** By message id, then by waiter. */
  readonly #waiters = new Map<string, Map<string, Waiter>>();
  #sweepIsSet: boolean | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#queries = new QueryTable(ctx.storage);
  }

  /** Opened again, by a repeat of the request, it keeps the answer it has; without one there is new time for it. */
  async open(messageId: string, deadlineMs: number): Promise<void> {
    const known = this.#queries.find(messageId);
    if (known !== null && (known.answer !== null || known.deadlineMs >= deadlineMs)) return;
    await this.#queries.save(messageId, { deadlineMs, answer: null });
    this.#sweepIsSet ??= (await pendingAlarm(this.ctx.storage, Date.now())) !== null;
    if (!this.#sweepIsSet) await this.#setSweep();
  }

  async wait(messageId: string, waiter: string, untilMs: number): Promise<Waited> {
    const query = this.#queries.find(messageId);
    if (query === null) return TIMED_OUT;
    if (query.answer !== null) return { ok: true, answer: query.answer };
    const restMs = Math.min(untilMs, query.deadlineMs) - Date.now();
    if (restMs <= 0) return TIMED_OUT;
    this.#end(messageId, waiter, TIMED_OUT); // the wait that broke off before it waits again
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#leave(messageId, waiter), restMs);
      const waiters = this.#waiters.get(messageId) ?? new Map<string, Waiter>();
      this.#waiters.set(messageId, waiters.set(waiter, { resolve, timer }));
    });
  }

  async leave(messageId: string, waiter: string): Promise<void> {
    this.#leave(messageId, waiter);
  }

  async answer(messageId: string, answer: QueryAnswer): Promise<AnswerResult> {
    const query = this.#queries.find(messageId);
    if (query === null) return { ok: false, code: "not-a-query" };
    if (query.answer !== null) return { ok: false, code: "answered" };
    if (Date.now() >= query.deadlineMs) return { ok: false, code: "late" };
    await this.#queries.save(messageId, { ...query, answer });
    for (const waiter of this.#waiters.get(messageId)?.keys() ?? []) this.#end(messageId, waiter, { ok: true, answer });
    return { ok: true };
  }

  override async alarm(): Promise<void> {
    this.#sweepIsSet = this.#queries.sweep(Date.now() - KEPT_MS);
    if (this.#sweepIsSet) await this.#setSweep();
  }

  async #setSweep(): Promise<void> {
    this.#sweepIsSet = true;
    await this.ctx.storage.setAlarm(Date.now() + SWEEP_INTERVAL_MS);
  }

  /** The deadline is now once the last waiter went: nobody would read an answer that came after. */
  #leave(messageId: string, waiter: string): void {
    this.#end(messageId, waiter, TIMED_OUT);
    const query = this.#queries.find(messageId);
    if (this.#waiters.has(messageId) || query === null || query.answer !== null) return;
    const nowMs = Date.now();
    if (nowMs < query.deadlineMs) this.ctx.waitUntil(this.#queries.save(messageId, { ...query, deadlineMs: nowMs }));
  }

  #end(messageId: string, name: string, waited: Waited): void {
    const waiters = this.#waiters.get(messageId);
    const waiter = waiters?.get(name);
    if (waiters === undefined || waiter === undefined) return;
    waiters.delete(name);
    if (waiters.size === 0) this.#waiters.delete(messageId);
    clearTimeout(waiter.timer);
    waiter.resolve(waited);
  }
}
