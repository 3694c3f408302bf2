import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { answerOf, ask } from "./ask.ts";

/** Which stream is read, and with what credentials. */
export type StreamAt = { readonly port: number; readonly path: string; readonly headers: Readonly<Record<string, string>> };

export type ReaderQuestion =
  /** Opens so many live readers at the end of the stream. */
  | { readonly kind: "follow"; readonly stream: StreamAt; readonly readers: number; readonly capacity: number }
  /** Closes them, and tells what they saw. */
  | { readonly kind: "report" }
  /** Reads the stream from its beginning to its end, answer by answer. */
  | { readonly kind: "catch-up"; readonly stream: StreamAt };

/** `arrivedAtMs` by reader × capacity + message, 0 where nothing arrived. */
export type Followed = { readonly kind: "followed"; readonly arrivedAtMs: Float64Array; readonly duplicates: number; readonly ended: number };
export type CaughtUp = { readonly kind: "caught-up"; readonly bytes: number; readonly answers: number; readonly seconds: number };
export type ReaderAnswer = { readonly kind: "ready" } | { readonly kind: "following" } | Followed | CaughtUp;

/** The reading process. One thing at a time. */
export type StreamReader = {
  follow(stream: StreamAt, readers: number, capacity: number): Promise<void>;
  report(): Promise<Followed>;
  catchUp(stream: StreamAt): Promise<CaughtUp>;
  stop(): Promise<void>;
};

export async function startStreamReader(): Promise<StreamReader> {
  const child = forkScript(fileURLToPath(new URL("stream-reader.process.ts", import.meta.url)));
  await answerOf<ReaderAnswer>(child);
  const asked = async <Kind extends ReaderAnswer["kind"]>(question: ReaderQuestion, kind: Kind): Promise<ReaderAnswer & { kind: Kind }> => {
    const answer = await askReader(child, question);
    if (answer.kind !== kind) throw new Error(`the reader answered ${answer.kind}`);
    return answer as ReaderAnswer & { kind: Kind };
  };
  return {
    async follow(stream, readers, capacity) {
      await asked({ kind: "follow", stream, readers, capacity }, "following");
    },
    report: () => asked({ kind: "report" }, "followed"),
    catchUp: (stream) => asked({ kind: "catch-up", stream }, "caught-up"),
    stop: () => stopProcess(child),
  };
}

function askReader(child: ChildProcess, question: ReaderQuestion): Promise<ReaderAnswer> {
  return ask(child, question);
}
