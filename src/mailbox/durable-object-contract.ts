import type { TakenMessage } from "./claim-check.ts";
import type { BoxDepth, BoxMessage, BoxRef, HandleResult } from "./mailbox.ts";

/** A message as the object keeps it; `body` is null where the bytes stayed in the stream. */
export type BoxedMessage = Omit<BoxMessage, "body"> & { readonly body: Uint8Array | null };

/** What decides how the object treats its messages; it comes with every call, for the object keeps no registry. */
export type BoxSettings = Pick<BoxRef, "ordered" | "maxReceives" | "retentionSeconds">;

export type TakeOptions = {
  readonly max: number;
  readonly visibilitySeconds: number;
  /** At most a few seconds: nothing tells the object that its asker is gone. */
  readonly waitMs: number;
  /** From the last answer, so that one who asks again keeps its place in the line. */
  readonly place: number | null;
};

/**
 * Messages, or none after a wait that has ended because there may be some now: then ask again. Nothing is handed out
 * at the end of a wait, for whoever waited may be gone and would take it along.
 */
export type Take = { readonly messages: readonly TakenMessage[]; readonly place: number | null };

/** The RPC face of `MailboxObject`. What goes wrong is thrown, and worth another try. */
export interface MailboxObjectApi {
  ping(): "pong" | Promise<"pong">;
  /** Answers once the messages are on disk. */
  send(settings: BoxSettings, messages: readonly BoxedMessage[]): Promise<void>;
  take(settings: BoxSettings, options: TakeOptions): Promise<Take>;
  ack(handles: readonly string[]): Promise<readonly HandleResult[]>;
  /** Makes the messages visible after the delay, and ends their handles. */
  nack(handles: readonly string[], delaySeconds: number): Promise<readonly HandleResult[]>;
  extend(handles: readonly string[], visibilitySeconds: number): Promise<readonly HandleResult[]>;
  depth(settings: BoxSettings): Promise<BoxDepth>;
  purge(): Promise<void>;
  expunge(message: { readonly id: string; readonly offset: number }): Promise<void>;
  /** How many dead letters are back. */
  redrive(settings: BoxSettings): Promise<number>;
  remove(): Promise<void>;
}
