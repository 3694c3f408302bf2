import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { setTimeout as delay } from "node:timers/promises";

const POLL_MS = 20;
const KILL_DEADLINE_MS = 5_000;

/** The command line of a process; empty when there is none, or when it is a zombie. */
export function commandLine(pid: number): string {
  if (existsSync("/proc/self/cmdline")) return readProc(pid);
  try {
    return execFileSync("ps", ["-o", "command=", "-p", String(pid)], { encoding: "utf8" });
  } catch {
    return ""; // `ps` exits with 1 when there is no such process
  }
}

function readProc(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").replaceAll("\0", " ");
  } catch {
    return ""; // it ended
  }
}

export function isRunning(pid: number): boolean {
  return commandLine(pid) !== "";
}

/** Sends a signal; false when the process was gone already. */
export function signal(pid: number, name: NodeJS.Signals): boolean {
  try {
    return process.kill(pid, name);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    throw error;
  }
}

/** Kills a process and returns once it is gone. */
export async function killAndWait(pid: number): Promise<void> {
  signal(pid, "SIGKILL");
  const deadline = Date.now() + KILL_DEADLINE_MS;
  while (isRunning(pid)) {
    if (Date.now() > deadline) throw new Error(`process ${pid} does not end, though killed`);
    await delay(POLL_MS);
  }
}

/** The process noted in a file; null when there is no such file or no number in it. */
export function readPid(path: string): number | null {
  if (!existsSync(path)) return null;
  const pid = Number(readFileSync(path, "utf8").trim());
  return Number.isInteger(pid) && pid > 1 ? pid : null;
}
