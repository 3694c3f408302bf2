import { type ChildProcess, type ForkOptions, fork, spawn, type SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { signal } from "../../src/local/processes.ts";
import { descendantsOf } from "./process-tree.ts";

/** What is left to do when the bench ends, however that comes about: above all to end what it started. */
const pending = new Map<object, () => void>();

const TERMINATION_GRACE_MS = 5000;

/** Starts a TypeScript file of the bench as a process of its own, with typed arrays intact over its IPC channel. */
export function forkScript(path: string, args: readonly string[] = [], options: ForkOptions = {}): ChildProcess {
  return track(fork(path, args, { ...options, serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] }));
}

export function spawnProgram(path: string, args: readonly string[], options: SpawnOptions): ChildProcess {
  return track(spawn(path, args, options));
}

/** Asks the process to end, and ends it by force if it does not. */
export async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const exited = once(child, "exit");
  child.kill("SIGTERM");
  const force = setTimeout(() => child.kill("SIGKILL"), TERMINATION_GRACE_MS);
  await exited;
  clearTimeout(force);
}

/** Has something done on exit, unless the returned function was called before. It must not take time. */
export function atExit(action: () => void): () => void {
  const key = {};
  pending.set(key, action);
  return () => pending.delete(key);
}

function track(child: ChildProcess): ChildProcess {
  const forget = atExit(() => child.kill("SIGKILL"));
  child.once("exit", forget);
  return child;
}

process.once("exit", () => {
  // Also what is only just being started, so that nobody here knows of it yet.
  for (const pid of descendantsOf(process.pid)) signal(pid, "SIGKILL");
  for (const action of pending.values()) action();
});
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => process.exit(1));
