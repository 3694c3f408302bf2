import type { MailboxFault, ReceivedMessage, ReceiveOptions } from "./mailbox.ts";

/** Slices may end early again and again, as they do on messages that can not be read and are never hidden. */
const MAX_SLICES = 100;

type Taken = { readonly ok: true; readonly messages: readonly ReceivedMessage[] } | MailboxFault;

export type LongPoll = Pick<ReceiveOptions, "waitSeconds" | "signal"> & {
  /** The longest single wait: a call to a service that may not notice that its caller went away. */
  readonly sliceSeconds: number;
  /** A rest of the wait that is shorter is not waited for. */
  readonly shortestSliceSeconds: number;
  /** Takes what is there, or waits for it at most this long; may return early with nothing. */
  readonly take: (waitSeconds: number) => Promise<Taken>;
  /** Makes messages visible again at once. */
  readonly release: (messages: readonly ReceivedMessage[]) => Promise<void>;
};

/**
 * Waits in slices and looks after each whether the asker is still there. A slice under way is not cut off, for a
 * service that is waiting may hand the next message to a connection that is gone: it ends, and what it took is released.
 */
export async function longPoll({ waitSeconds, signal, sliceSeconds, shortestSliceSeconds, take, release }: LongPoll): Promise<Taken> {
  const deadlineMs = Date.now() + waitSeconds * 1000;
  let remainingSeconds = waitSeconds;
  for (let slices = 0; slices < MAX_SLICES; slices++) {
    if (signal?.aborted) return NOTHING;
    const taken = await take(Math.min(sliceSeconds, remainingSeconds));
    if (!taken.ok) return taken;
    if (taken.messages.length > 0) {
      if (!signal?.aborted) return taken;
      await release(taken.messages);
      return NOTHING;
    }
    remainingSeconds = (deadlineMs - Date.now()) / 1000;
    if (remainingSeconds < shortestSliceSeconds) return NOTHING;
  }
  return NOTHING;
}

const NOTHING: Taken = { ok: true, messages: [] };
