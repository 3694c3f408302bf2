import type { ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { answerOf, ask } from "./ask.ts";

/** What is received from and acknowledged at, ten messages a call. */
export type PullFrom =
  /** `url` of the queue or endpoint at the gateway, to which `/messages` and `/ack` are added. */
  | { readonly kind: "gateway"; readonly url: string; readonly headers: Readonly<Record<string, string>> }
  /** SQS itself, with the AWS SDK's client. */
  | { readonly kind: "sqs"; readonly endpoint: string; readonly queueName: string };

/** Consumers that never pause, until so many messages are acknowledged. */
export type PullJob = { readonly from: PullFrom; readonly consumers: number; readonly messages: number };

export type Pulled = {
  readonly acknowledged: number;
  /** Received again after they were acknowledged, or twice. */
  readonly duplicates: number;
  /** Calls that were answered with a fault. */
  readonly refused: number;
  readonly refusal: string | null;
  readonly seconds: number;
};

export type PullerAnswer = { readonly kind: "ready" } | { readonly kind: "done"; readonly pulled: Pulled };

/** The consuming process. One job at a time. */
export type Puller = { run(job: PullJob): Promise<Pulled>; stop(): Promise<void> };

export async function startPuller(): Promise<Puller> {
  const child = forkScript(fileURLToPath(new URL("puller.process.ts", import.meta.url)));
  await answerOf<PullerAnswer>(child);
  return { run: (job) => runJob(child, job), stop: () => stopProcess(child) };
}

async function runJob(child: ChildProcess, job: PullJob): Promise<Pulled> {
  const answer = await ask<PullerAnswer>(child, job);
  if (answer.kind !== "done") throw new Error("the puller did not finish its job");
  return answer.pulled;
}
