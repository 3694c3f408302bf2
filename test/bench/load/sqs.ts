import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { answerOf } from "./ask.ts";

export type SqsAnswer = { readonly url: string };

/** What both sides of a comparison pull from. */
export type Sqs = { readonly url: string; stop(): Promise<void> };

export async function startSqs(): Promise<Sqs> {
  const child = forkScript(fileURLToPath(new URL("sqs.process.ts", import.meta.url)));
  const { url } = await answerOf<SqsAnswer>(child);
  return { url, stop: () => stopProcess(child) };
}
