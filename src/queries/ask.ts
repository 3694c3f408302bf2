import type { QueryAnswer } from "../delivery/attempt.ts";
import { describeError, log } from "../log.ts";
import type { PublishWorld } from "../messages/publish.ts";
import { type Order, sendCommand } from "../messages/send-command.ts";
import { type RendezvousApi, rendezvousName, type Waited } from "./contract.ts";

/** What asking needs of the outside. */
export type AskWorld = Pick<PublishWorld, "append"> & {
  readonly rendezvous: (name: string) => RendezvousApi;
  readonly now: () => number;
  readonly pause: (ms: number) => Promise<void>;
  readonly waitUntil: (promise: Promise<unknown>) => void;
};

/** A query on its way: a command whose answer is waited for. */
export type Query = Order & { readonly answerByMs: number };

export type Asked =
  | { readonly ok: true; readonly answer: QueryAnswer }
  | { readonly ok: false; readonly code: "timed-out" }
  | { readonly ok: false; readonly code: "overloaded"; readonly retryAfterSeconds: number };

/** An object that restarted is asked again after this. */
const RETRY_MS = 100;

/**
 * Sends a query to its queue and waits for the answer, until `answerByMs` or until `caller` is aborted. The
 * rendezvous is open before the query is sent, so that no answer can come too early. Throws when the rendezvous or
 * the stream can not be reached.
 */
export async function ask(world: AskWorld, tenantId: string, queue: string, query: Query, caller: AbortSignal): Promise<Asked> {
  const rendezvous = (): RendezvousApi => world.rendezvous(rendezvousName(tenantId, query.id));
  const waiter = crypto.randomUUID();
  const leave = (): void => world.waitUntil(rendezvous().leave(query.id, waiter).catch(logFailure));
  await rendezvous().open(query.id, query.answerByMs);
  caller.addEventListener("abort", leave, { once: true });
  try {
    const sent = await sendCommand(world, tenantId, queue, [query]);
    if (sent.ok) return await answerOf(world, () => rendezvous().wait(query.id, waiter, query.answerByMs), query.answerByMs);
    leave();
    return sent;
  } catch (error) {
    leave(); // it may have been committed all the same: then its answer comes too late
    throw error;
  } finally {
    caller.removeEventListener("abort", leave);
  }
}

/** Waits, and waits again where the wait broke off: what was answered meanwhile is on disk. */
async function answerOf(world: AskWorld, wait: () => Promise<Waited>, untilMs: number): Promise<Waited> {
  for (;;) {
    try {
      return await wait();
    } catch (error) {
      logFailure(error);
      if (world.now() + RETRY_MS >= untilMs) return { ok: false, code: "timed-out" };
      await world.pause(RETRY_MS);
    }
  }
}

function logFailure(error: unknown): void {
  log("warn", "rendezvous.unreachable", { error: describeError(error) });
}
