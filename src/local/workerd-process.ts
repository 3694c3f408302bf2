import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { rmSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { commandLine, killAndWait, readPid, signal } from "./processes.ts";
import { WORKERD_PATH } from "./workerd-binary.ts";

export type WorkerdCommand = {
  readonly configPath: string;
  readonly pidPath: string;
  /** The whole environment of the process: `fromEnvironment` bindings read it. */
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Answers 2xx once it serves. */
  readonly aliveUrl: string;
};

export type RunningWorkerd = {
  /** Ends it, gracefully if it lets itself be, and does not start it again. */
  readonly stop: () => Promise<void>;
};

const START_DEADLINE_MS = 30_000;
const POLL_MS = 20;
const STOP_DEADLINE_MS = 3_000;
const FIRST_BACKOFF_MS = 100;
const MAX_BACKOFF_MS = 5_000;
/** Having run this long, it starts over with the first back-off. */
const STABLE_MS = 60_000;

/**
 * Node cannot ask to have its children die with it, and a SIGKILL lets it do nothing. So a shell stands between: it
 * reads a pipe whose other end only we hold, and which the kernel closes when we die, however we do. SIGINT is
 * ignored, for a terminal sends it to all of us and it is ours to handle.
 */
const SHELL = `
trap '' INT
exec 4<&0
"$@" 4<&- &
workerd=$!
echo $workerd > "$0"
{ read _ <&4; kill -KILL $workerd; } 2>/dev/null &
watcher=$!
exec 4<&-
wait $workerd
code=$?
kill -KILL $watcher
exit $code
`;

/** Ends a workerd that outlived the gateway that noted it here: two of them would write to the same databases. */
export async function endLeftoverWorkerd(pidPath: string): Promise<void> {
  const pid = readPid(pidPath);
  // The number may be another process's by now; a workerd of ours was given a file of the same directory.
  if (pid !== null && commandLine(pid).includes(dirname(pidPath))) await killAndWait(pid);
  rmSync(pidPath, { force: true });
}

/** Starts workerd and returns once it serves; throws when it ends before that or does not in 30 s. */
export async function startWorkerd(command: WorkerdCommand): Promise<RunningWorkerd & { readonly child: ChildProcess }> {
  await endLeftoverWorkerd(command.pidPath);
  const child = spawn(
    "sh",
    ["-c", SHELL, command.pidPath, WORKERD_PATH, "serve", "--experimental", command.configPath, "config"],
    { stdio: ["pipe", "inherit", "inherit"], env: { ...command.environment } },
  );
  const ended = endOf(child);
  const stop = async (): Promise<void> => {
    const pid = readPid(command.pidPath);
    if (child.exitCode === null && pid !== null) signal(pid, "SIGTERM");
    const gone = await Promise.race([ended, delay(STOP_DEADLINE_MS, null)]);
    if (gone === null) child.stdin?.destroy();
    await ended;
  };
  const outcome = await Promise.race([answers(command.aliveUrl), ended]);
  if (outcome === "alive") return { stop, child };
  await stop();
  throw new Error(outcome === "silent" ? `workerd does not answer at ${command.aliveUrl}` : `workerd ended at once (${outcome})`);
}

/** Keeps workerd running until stopped: when it ends on its own it is started again, later each time, up to 5 s. */
export async function superviseWorkerd(command: WorkerdCommand, report: (line: string) => void): Promise<RunningWorkerd> {
  let running = await startWorkerd(command);
  let stopping = false;

  const keepRunning = async (): Promise<void> => {
    let backoffMs = FIRST_BACKOFF_MS;
    while (!stopping) {
      const startedAt = Date.now();
      const how = await endOf(running.child);
      if (stopping) return;
      if (Date.now() - startedAt > STABLE_MS) backoffMs = FIRST_BACKOFF_MS;
      report(`workerd ended by itself (${how}): starting it again`);
      running = await restart(backoffMs);
      backoffMs = Math.min(backoffMs * 2, MAX_BACKOFF_MS);
    }
  };
  const restart = async (backoffMs: number): Promise<typeof running> => {
    await delay(backoffMs);
    try {
      return await startWorkerd(command);
    } catch (error) {
      if (stopping) return running;
      report(error instanceof Error ? error.message : String(error));
      return restart(Math.min(backoffMs * 2, MAX_BACKOFF_MS));
    }
  };
  const supervision = keepRunning();
  return {
    stop: async () => {
      stopping = true;
      await running.stop();
      await supervision;
    },
  };
}

async function endOf(child: ChildProcess): Promise<string> {
  if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  return child.signalCode ?? `exit code ${child.exitCode}`;
}

async function answers(url: string): Promise<"alive" | "silent"> {
  const deadline = Date.now() + START_DEADLINE_MS;
  while (Date.now() < deadline) {
    const status = await fetch(url, { signal: AbortSignal.timeout(2_000) }).then(
      async (response) => {
        await response.body?.cancel();
        return response.ok;
      },
      () => false,
    );
    if (status) return "alive";
    await delay(POLL_MS);
  }
  return "silent";
}
