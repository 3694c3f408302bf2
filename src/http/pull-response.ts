import { describeError, log } from "../log.ts";

/** An answer that has begun before what it says is known. */
export type LateAnswer<Value> = {
  /** Resolves as soon as there is something, or nothing is to be expected any more; `gone` aborts with the client. */
  readonly work: (gone: AbortSignal) => Promise<Value>;
  readonly present: (value: Value) => Promise<string>;
  /** For what `work` brought, or a failure made nothing of: the client is not there to get it. */
  readonly undo: (value: Value) => Promise<void>;
  /** Keeps the request's context alive when its client is gone. */
  readonly background: (work: Promise<void>) => void;
};

const BEAT_MS = 1_000;
/** From writing to a connection that is closed until the runtime knows: seen to be 2 ms, on one machine. */
const NOTICE_MS = 5;
/** White space, which JSON allows before a value (RFC 8259 §2). */
const BEAT = new TextEncoder().encode(" ");

/**
 * A JSON body that begins at once with white space, a byte a second, and ends with the text of what `work` resolves to.
 * The bytes are what makes a client that left noticeable: workerd learns it from a write that fails, and tells the
 * stream by `cancel`. So one more byte goes out before the text, and what nobody is there to read is undone.
 */
export function lateJson<Value>({ work, present, undo, background }: LateAnswer<Value>): ReadableStream<Uint8Array> {
  const gone = new AbortController();
  return new ReadableStream<Uint8Array>({
    start(controller) {
      controller.enqueue(BEAT);
      const beat = setInterval(() => controller.enqueue(BEAT), BEAT_MS);
      gone.signal.addEventListener("abort", () => clearInterval(beat));
      const answer = async (): Promise<void> => {
        const value = await work(gone.signal);
        clearInterval(beat);
        if (!gone.signal.aborted) controller.enqueue(BEAT);
        await new Promise((resolve) => setTimeout(resolve, NOTICE_MS));
        if (gone.signal.aborted) return undo(value);
        const text = await present(value);
        if (gone.signal.aborted) return undo(value);
        controller.enqueue(new TextEncoder().encode(text));
        controller.close();
      };
      background(
        answer().catch((error: unknown) => {
          clearInterval(beat);
          log("error", "pull.wait-failed", describeError(error));
          // cut off, so that it passes for no answer: the status is out already
          if (!gone.signal.aborted) controller.error(new Error("the wait failed"));
        }),
      );
    },
    cancel() {
      gone.abort();
    },
  });
}
