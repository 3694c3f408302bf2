import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { answerOf, ask } from "./ask.ts";

/**
 * Open loop: requests leave by a clock, whether or not earlier ones were answered, and count from when they should
 * have left. Closed loop: each connection sends its next request when the last was answered, as fast as that goes.
 */
export type Pacing =
  | {
      readonly kind: "open";
      readonly perSecond: number;
      readonly seconds: number;
      /** An overload: so many connections may be open, not 512, and what found none by the end is never sent. */
      readonly overloadConnections?: number;
    }
  | { readonly kind: "closed"; readonly connections: number; readonly seconds: number };

export type Requests =
  /** One request sent again and again, its body restamped each time with the number of the message. */
  | { readonly kind: "stamped"; readonly request: Uint8Array; readonly bodyStart: number }
  /** Requests made beforehand, each sent once. */
  | { readonly kind: "prepared"; readonly requests: readonly Uint8Array[] }
  /** One request sent again and again as it is. */
  | { readonly kind: "repeated"; readonly request: Uint8Array };

/** `capacity`: the most requests that a job may make. */
export type Job = { readonly port: number; readonly capacity: number; readonly pacing: Pacing; readonly requests: Requests };

/** By request, in the order they left. */
export type Sendings = {
  readonly count: number;
  /** What was due and never sent. */
  readonly unsent: number;
  /** When the request left, or in an open loop was to leave. */
  readonly sentAtMs: Float64Array;
  /** 0: never. */
  readonly answeredAtMs: Float64Array;
  /** HTTP status; 0: no answer, so nothing is known of the message. */
  readonly status: Uint16Array;
  readonly startedAtMs: number;
  /** When the load ended; answers may be later. */
  readonly endedAtMs: number;
  /** Of the answers 503, those that said when to come again. */
  readonly unavailable: number;
  readonly withRetryAfter: number;
  /** The body of the last answer that was not 2xx, for the reader of a failed bench. */
  readonly refusal: string | null;
};

export type GeneratorAnswer = { readonly kind: "ready" } | { readonly kind: "done"; readonly sendings: Sendings };

/** The sending process. One job at a time. */
export type Generator = { readonly pid: number; run(job: Job): Promise<Sendings>; stop(): Promise<void> };

export async function startGenerator(): Promise<Generator> {
  const child = forkScript(fileURLToPath(new URL("generator.process.ts", import.meta.url)));
  await answerOf<GeneratorAnswer>(child);
  return { pid: child.pid ?? 0, run: (job) => runJob(child, job), stop: () => stopProcess(child) };
}

async function runJob(child: ChildProcess, job: Job): Promise<Sendings> {
  const answer = await ask<GeneratorAnswer>(child, job);
  if (answer.kind !== "done") throw new Error("the generator did not finish its job");
  return answer.sendings;
}
