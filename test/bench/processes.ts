import { type ChildProcess, type ForkOptions, fork, spawn, type SpawnOptions } from "node:child_process";
import { once } from "node:events";

/** How to end at once whatever the bench started and has not seen end; run on its exit, however that comes about. */
const running = new Map<object, () => void>();

const TERMINATION_GRACE_MS = 5000;

/** Starts a TypeScript file of the bench as a process of its own, with typed arrays intact over its IPC channel. */
export function forkScript(path: string, options: ForkOptions = {}): ChildProcess {
  return track(fork(path, [], { ...options, serialization: "advanced", stdio: ["ignore", "inherit", "inherit", "ipc"] }));
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

/** The last line of defence for what ends in its own way: `kill` is called on exit unless the returned function was. */
export function killAtExit(kill: () => void): () => void {
  const key = {};
  running.set(key, kill);
  return () => running.delete(key);
}

function track(child: ChildProcess): ChildProcess {
  const forget = killAtExit(() => child.kill("SIGKILL"));
  child.once("exit", forget);
  return child;
}

process.once("exit", () => {
  for (const kill of running.values()) kill();
});
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => process.exit(1));
