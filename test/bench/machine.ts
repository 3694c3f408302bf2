import { cpus, release, totalmem, type } from "node:os";
import workerd from "workerd";
import { everCpuMs, machineCpuMs } from "./process-tree.ts";

/** Where the figures were measured: they mean little elsewhere, the ratios more. */
export type Machine = {
  readonly cpu: string;
  readonly cores: number;
  readonly memoryGiB: number;
  readonly system: string;
  readonly node: string;
  readonly workerd: string;
};

export function describeMachine(): Machine {
  const processors = cpus();
  return {
    cpu: processors[0]?.model.trim() ?? "unknown",
    cores: processors.length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    system: `${type()} ${release()}`,
    node: process.versions.node,
    workerd: workerd.version,
  };
}

/**
 * Starts watching what else the machine does; the returned function says which share of it, 0..1, other programs
 * had since. Null where it can not be told. The bench and all it started are descendants of this process.
 */
export function watchOthers(): () => number | null {
  const read = () => ({ all: machineCpuMs(), ours: everCpuMs(process.pid), atMs: performance.now() });
  const before = read();
  return () => {
    const after = read();
    if (before.ours === null || after.ours === null) return null;
    const othersMs = after.all - before.all - (after.ours - before.ours);
    return Math.max(0, othersMs / ((after.atMs - before.atMs) * cpus().length));
  };
}
