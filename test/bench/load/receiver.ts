import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { ask, answerOf } from "./ask.ts";

/** A request kept whole. */
export type Sample = { readonly subscriber: number; readonly head: string; readonly body: Uint8Array };

export type ReceiverQuestion =
  | { readonly kind: "begin"; readonly tag: string; readonly subscribers: number; readonly capacity: number }
  | { readonly kind: "counts"; readonly tag: string }
  | { readonly kind: "report"; readonly tag: string };

export type Counts = { readonly kind: "counts"; readonly distinct: number; readonly duplicates: number; readonly strays: number };

/** `arrivedAtMs` by subscriber × capacity + message, 0 where nothing arrived. */
export type Arrivals = {
  readonly kind: "report";
  readonly arrivedAtMs: Float64Array;
  readonly samples: readonly Sample[];
  readonly duplicates: number;
};

export type ReceiverAnswer = { readonly kind: "listening"; readonly port: number } | Counts | Arrivals;

/** The receiving process. It goes on counting for every run ever begun. */
export type Receiver = {
  readonly port: number;
  readonly pid: number;
  url(subscriber: number): string;
  begin(tag: string, subscribers: number, capacity: number): Promise<void>;
  counts(tag: string): Promise<Counts>;
  report(tag: string): Promise<Arrivals>;
  stop(): Promise<void>;
};

export async function startReceiver(): Promise<Receiver> {
  const child = forkScript(fileURLToPath(new URL("receiver.process.ts", import.meta.url)));
  const listening = await answerOf<ReceiverAnswer>(child);
  if (listening.kind !== "listening") throw new Error("the receiver did not listen");
  return receiverOn(child, listening.port);
}

function receiverOn(child: ChildProcess, port: number): Receiver {
  // An answer does not say what it answers: one question at a time.
  let before: Promise<unknown> = Promise.resolve();
  const question = (asked: ReceiverQuestion): Promise<ReceiverAnswer> => {
    const answer = before.then(() => ask<ReceiverAnswer>(child, asked));
    before = answer.catch(() => undefined);
    return answer;
  };
  const counts = async (asked: ReceiverQuestion): Promise<Counts> => {
    const answer = await question(asked);
    if (answer.kind !== "counts") throw new Error(`the receiver answered ${answer.kind}`);
    return answer;
  };
  return {
    port,
    pid: child.pid ?? 0,
    stop: () => stopProcess(child),
    url: (subscriber) => `http://127.0.0.1:${port}/s/${subscriber}`,
    async begin(tag, subscribers, capacity) {
      await counts({ kind: "begin", tag, subscribers, capacity });
    },
    counts: (tag) => counts({ kind: "counts", tag }),
    async report(tag) {
      const answer = await question({ kind: "report", tag });
      if (answer.kind !== "report") throw new Error(`the receiver answered ${answer.kind}`);
      return answer;
    },
  };
}
