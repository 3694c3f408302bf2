import { fileURLToPath } from "node:url";
import { forkScript, stopProcess } from "../processes.ts";
import { answerOf } from "./ask.ts";

/** The reference server of the Durable Streams Protocol, with its streams in files. */
export type Reference = { readonly port: number; stop(): Promise<void> };

export async function startReference(dataDir: string): Promise<Reference> {
  const child = forkScript(fileURLToPath(new URL("reference.process.ts", import.meta.url)), [dataDir]);
  const { port } = await answerOf<{ port: number }>(child);
  return { port, stop: () => stopProcess(child) };
}
