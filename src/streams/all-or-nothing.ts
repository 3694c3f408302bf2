import { describeError, log } from "../log.ts";

/**
 * Makes a change of an object, on disk and in memory, as one: when it throws nothing of it stays on disk, and the object
 * starts again from there, for what is in memory may be ahead.
 */
export function allOrNothing<Result>(
  ctx: { readonly storage: Pick<DurableObjectStorage, "transactionSync">; readonly abort: (reason: string) => void },
  what: string,
  change: () => Result,
): Result {
  try {
    return ctx.storage.transactionSync(change);
  } catch (error) {
    log("error", `${what}.failed`, { error: describeError(error) });
    ctx.abort(`${what} failed`);
    throw error;
  }
}
