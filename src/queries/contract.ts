import type { QueryAnswer } from "../delivery/attempt.ts";

/** How a wait ended. */
export type Waited = { readonly ok: true; readonly answer: QueryAnswer } | { readonly ok: false; readonly code: "timed-out" };

/**
 * What became of an answer. `late`: the caller's time was over or it had left, the answer was dropped; `answered`:
 * there was one already; `not-a-query`: nobody ever asked under this id, or so long ago that it is forgotten.
 */
export type AnswerResult = { readonly ok: true } | { readonly ok: false; readonly code: "late" | "answered" | "not-a-query" };

/** The RPC face of the `Rendezvous` Durable Object: where the callers of queries and their answers meet. */
export interface RendezvousApi {
  /** The query is about to be sent: until `deadlineMs` an answer is welcome. Durable before it answers. */
  open(messageId: string, deadlineMs: number): Promise<void>;
  /** Answers as soon as there is an answer, or when the time is over. `waiter` names who waits, for `leave`. */
  wait(messageId: string, waiter: string, untilMs: number): Promise<Waited>;
  /** Ends a wait; once nobody waits any more, an answer comes too late. */
  leave(messageId: string, waiter: string): Promise<void>;
  /** Gives the answer to whoever waits; durable before it answers. */
  answer(messageId: string, answer: QueryAnswer): Promise<AnswerResult>;
}

/**
 * Objects that share a tenant's queries. One of its own for each query would cost a new database a query, which is
 * tens of milliseconds; one for all would be the limit of a tenant.
 */
const SHARDS = 16;
const FNV_OFFSET = 0x811c9dc5;
const FNV_PRIME = 0x01000193;

/** The name of the object a query meets its answer in. The tenant is part of it, so none reaches another's. */
export function rendezvousName(tenantId: string, messageId: string): string {
  let hash = FNV_OFFSET; // FNV-1a, 32 bits
  for (let index = 0; index < messageId.length; index++) {
    hash = Math.imul(hash ^ messageId.charCodeAt(index), FNV_PRIME);
  }
  return `${tenantId}/${(hash >>> 0) % SHARDS}`;
}

/** The cast is where untyped RPC becomes the contract that `Rendezvous` implements. */
export function rendezvousStub(namespace: DurableObjectNamespace, name: string): RendezvousApi {
  return namespace.getByName(name) as unknown as RendezvousApi;
}
