import { describeError, log } from "../log.ts";
import type { Content } from "../streams/contract.ts";
import type { ReceivedMessage } from "./mailbox.ts";

/** Larger content stays in its stream, and the mailbox holds a reference to it (the claim check pattern). */
export const MAX_INLINE_BYTES = 256 * 1024;

/** Reads the bytes a reference stands for; `StreamApi.content` in production. Throws when the stream can not be asked. */
export type ContentLoader = (stream: string, offset: number) => Promise<Content>;

/** A message as taken out of a mailbox: without its bytes where they were left in the stream. */
export type TakenMessage = Omit<ReceivedMessage, "body"> & {
  /** Null: they are at `offset` of `stream`. */
  readonly body: Uint8Array | null;
  readonly stream: string;
};

export type Filled = {
  readonly messages: readonly ReceivedMessage[];
  /** Handles of messages whose content was expunged: there is nothing to hand out any more, now or later. */
  readonly expunged: readonly string[];
};

/**
 * Fetches what was left in streams. A message whose stream can not be asked now is not handed out; it comes again
 * after its visibility timeout, and becomes a dead letter if it never can.
 */
export async function fillContents(taken: readonly TakenMessage[], load: ContentLoader): Promise<Filled> {
  const contents = await Promise.all(taken.map(async (message) => contentOf(message, load)));
  const messages: ReceivedMessage[] = [];
  const expunged: string[] = [];
  taken.forEach(({ stream: _stream, ...message }, index) => {
    const content = contents[index];
    if (content instanceof Uint8Array) messages.push({ ...message, body: content });
    else if (content === "expunged") expunged.push(message.handle);
  });
  return { messages, expunged };
}

async function contentOf(message: TakenMessage, load: ContentLoader): Promise<Uint8Array | "expunged" | "unavailable"> {
  if (message.body !== null) return message.body;
  const { id, stream, offset } = message;
  try {
    const content = await load(stream, offset);
    if (content.ok) return content.body;
    log("warn", "mailbox.content-gone", { messageId: id, stream, offset, code: content.code });
    return content.code === "expunged" ? "expunged" : "unavailable";
  } catch (thrown) {
    log("warn", "mailbox.content-failed", { messageId: id, stream, offset, error: describeError(thrown) });
    return "unavailable";
  }
}
