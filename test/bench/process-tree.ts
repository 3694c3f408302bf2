import { readdirSync, readFileSync } from "node:fs";
import { cpus } from "node:os";

/** `USER_HZ`, the unit of /proc/<pid>/stat: 100 on every Linux that user space sees. */
const TICKS_PER_SECOND = 100;

type Process = {
  readonly pid: number;
  readonly parent: number;
  readonly cpuMs: number;
  readonly userMs: number;
  /** Of its children that have ended, and of theirs. */
  readonly endedCpuMs: number;
};

/** CPU milliseconds, user and system, that a process and all its descendants have used; null where there is no /proc. */
export function treeCpuMs(rootPid: number): number | null {
  return treeOf(rootPid)?.reduce((total, { cpuMs }) => total + cpuMs, 0) ?? null;
}

/** As {@link treeCpuMs}, with those that have ended. */
export function everCpuMs(rootPid: number): number | null {
  return treeOf(rootPid)?.reduce((total, { cpuMs, endedCpuMs }) => total + cpuMs + endedCpuMs, 0) ?? null;
}

/** As {@link treeCpuMs}, without what the kernel did for them, such as sending and syncing. */
export function treeUserMs(rootPid: number): number | null {
  return treeOf(rootPid)?.reduce((total, { userMs }) => total + userMs, 0) ?? null;
}

/** The pids of a process's children and of theirs; empty where there is no /proc. */
export function descendantsOf(rootPid: number): number[] {
  return (treeOf(rootPid) ?? []).map(({ pid }) => pid).filter((pid) => pid !== rootPid);
}

function treeOf(rootPid: number): Process[] | null {
  const processes = listProcesses();
  if (processes === null) return null;
  const tree = new Set([rootPid]);
  // Pids wrap, so a child may come before its parent in the list: go on until nothing is added.
  for (let size = 0; size !== tree.size; ) {
    size = tree.size;
    for (const { pid, parent } of processes) if (tree.has(parent)) tree.add(pid);
  }
  return processes.filter(({ pid }) => tree.has(pid));
}

/** CPU milliseconds that all programs of the machine have used since it started. */
export function machineCpuMs(): number {
  return cpus().reduce((sum, { times }) => sum + times.user + times.nice + times.sys + times.irq, 0);
}

function listProcesses(): Process[] | null {
  let names: string[];
  try {
    names = readdirSync("/proc");
  } catch {
    return null;
  }
  return names.filter((name) => /^\d+$/.test(name)).flatMap((name) => readProcess(Number(name)) ?? []);
}

/** proc(5): after the name in parentheses come state, ppid (4th field), …, utime, stime, cutime and cstime (14th to 17th). */
function readProcess(pid: number): Process | null {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  } catch {
    return null; // it ended between the listing and now
  }
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  const ms = (...indexes: number[]): number => indexes.reduce((sum, index) => sum + (Number(fields[index]) * 1000) / TICKS_PER_SECOND, 0);
  return { pid, parent: Number(fields[1]), cpuMs: ms(11, 12), userMs: ms(11), endedCpuMs: ms(13, 14) };
}
