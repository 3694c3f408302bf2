import type { Handler, Message } from "./consume.ts";
import { type Consumption, giveBack } from "./consumption.ts";
import { dataOf } from "./content.ts";
import { holdDelivery } from "./delivery.ts";
import { PosternProblem } from "./errors.ts";
import type { Pulled, SettleAction } from "./puller.ts";

const MAX_RETRY_DELAY_SECONDS = 900;
/** The longest delay that a nack may ask for. */
const MAX_NACK_DELAY_SECONDS = 43_200;

/** Full jitter up to 2^receiveCount seconds, 15 minutes at most; never 0, or a failing message would spin. */
export function retryDelaySeconds(receiveCount: number, random: number): number {
  return Math.max(1, Math.ceil(random * Math.min(MAX_RETRY_DELAY_SECONDS, 2 ** receiveCount)));
}

type RetryDelay = (message: Message, error: unknown) => number;

const defaultRetryDelay: RetryDelay = ({ receiveCount }) => retryDelaySeconds(receiveCount, Math.random());

/**
 * Receives as many messages as handlers are free, until it is to stop; then waits for those that work. Throws, after
 * that, what was refused for good.
 */
export async function runHandlers(
  shared: Consumption,
  handler: Handler,
  concurrency: number,
  retryDelay: RetryDelay = defaultRetryDelay,
): Promise<void> {
  const { receiver, settler, stopping, max } = shared;
  const working = new Set<Promise<void>>();
  let wake = (): void => undefined;

  const start = (pulled: Pulled): void => {
    const work = workOn(shared, pulled, handler, retryDelay)
      .catch(shared.fail)
      .finally(() => {
        working.delete(work);
        wake();
      });
    working.add(work);
  };

  try {
    while (!stopping.aborted) {
      const free = concurrency - working.size;
      if (free === 0) {
        await new Promise<void>((resolve) => {
          wake = resolve;
        });
        continue;
      }
      const pulled = await receiver.receive(Math.min(max, free));
      if (stopping.aborted) await giveBack(shared, pulled);
      else pulled.forEach(start);
    }
  } finally {
    await Promise.all(working);
    await settler.drained();
  }
}

/** One message from start to end. */
async function workOn(shared: Consumption, pulled: Pulled, handler: Handler, retryDelay: RetryDelay): Promise<void> {
  const { puller, settler, visibilitySeconds, report } = shared;
  const { message } = pulled;
  const held = holdDelivery(pulled, puller, settler, visibilitySeconds);
  const endExtending = keepInvisible(shared, pulled, held.isSettled);
  try {
    const returned = await handler(held.delivery);
    if (message.answerBy !== null && returned !== undefined && !held.isAnswered()) await answer(shared, pulled, returned);
  } catch (error) {
    endExtending();
    const retryInSeconds = Math.min(MAX_NACK_DELAY_SECONDS, Math.max(0, Math.round(retryDelay(message, error))));
    if (!held.isSettled()) await settle(shared, pulled, { kind: "nack", delaySeconds: retryInSeconds });
    report({ kind: "handler", error, message, retryInSeconds });
    return;
  }
  endExtending();
  if (!held.isSettled()) await settle(shared, pulled, { kind: "ack" });
}

/** A refusal is reported and done with: nobody waits for this answer. Anything else throws, and the query comes again. */
async function answer({ puller, report }: Consumption, { message }: Pulled, returned: unknown): Promise<void> {
  try {
    await puller.reply(message.id, dataOf(returned));
  } catch (error) {
    if (!(error instanceof PosternProblem) || error.status >= 500 || error.status === 429) throw error;
    report({ kind: "reply", error, message });
  }
}

/** Extends the visibility time at half of it, again and again, until told to end or the message is not ours any more. */
function keepInvisible(shared: Consumption, pulled: Pulled, isSettled: () => boolean): () => void {
  const { visibilitySeconds } = shared;
  if (visibilitySeconds === 0) return () => undefined;
  const timer = setInterval(() => {
    if (isSettled()) return;
    settle(shared, pulled, { kind: "extend", visibilitySeconds }).then((isOurs) => {
      if (!isOurs) clearInterval(timer);
    }, shared.fail);
  }, visibilitySeconds * 500);
  return () => clearInterval(timer);
}

/** Whether it was settled. When it was not, the message comes again, and that is reported. */
async function settle({ settler, report }: Consumption, pulled: Pulled, action: SettleAction): Promise<boolean> {
  const { message } = pulled;
  try {
    const settled = await settler.settle(pulled, action);
    if (!settled.ok) report({ kind: "settle", error: new Error(`${action.kind} of ${message.id}: ${settled.error}`), message });
    return settled.ok;
  } catch (error) {
    report({ kind: "settle", error, message });
    return false;
  }
}
