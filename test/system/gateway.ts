import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { isRunning, readPid } from "../../src/local/processes.ts";

export type GatewayOptions = {
  /** Beside what the helper sets; a variable given here wins. */
  readonly env?: Readonly<Record<string, string>>;
  /** Absent: a new one under the system's temporary directory. */
  readonly dataDir?: string;
  /** Absent: any that is free. */
  readonly port?: number;
};

/** A gateway under test: what `npm start` runs, in a process group of its own. */
export type Gateway = {
  readonly url: string;
  readonly port: number;
  /** The operator's. */
  readonly token: string;
  readonly dataDir: string;
  /** What it wrote so far, both streams. */
  readonly logs: () => string;
  /** Process ids as they are now; a workerd that ended is started again under another. */
  readonly pids: () => { readonly node: number; readonly workerd: number };
  /** SIGKILL to every process of it at once; returns when all are gone. */
  readonly kill9: () => Promise<void>;
  /** SIGTERM; returns its exit code when it is gone. */
  readonly stop: () => Promise<number | null>;
  /** Starts it anew on the same data and port, killing it first if it runs. */
  readonly restart: (env?: Readonly<Record<string, string>>) => Promise<Gateway>;
  /** Kills it and removes its data. */
  readonly dispose: () => Promise<void>;
};

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const READY_DEADLINE_MS = 45_000;
const GONE_DEADLINE_MS = 10_000;
const POLL_MS = 10;

/** What a gateway that does not start says, and its exit code. */
export async function failToStart(options: GatewayOptions): Promise<{ readonly code: number | null; readonly logs: string }> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "postern-"));
  const { child, logs } = spawnGateway(options, dataDir);
  const deadline = setTimeout(() => process.kill(-pidOf(child), "SIGKILL"), READY_DEADLINE_MS);
  await once(child, "close");
  clearTimeout(deadline);
  if (options.dataDir === undefined) rmSync(dataDir, { recursive: true, force: true });
  return { code: child.exitCode, logs: logs() };
}

/** Starts a gateway and returns once it said `ready`; without the demo unless asked for by `POSTERN_DEMO: "1"`. */
export async function startGateway(options: GatewayOptions = {}): Promise<Gateway> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), "postern-"));
  const { child, logs } = spawnGateway(options, dataDir);
  const url = await ready(child, logs);
  const nodePid = pidOf(child);
  const workerdPid = (): number => readPid(join(dataDir, "workerd.pid")) ?? 0;

  const kill9 = async (): Promise<void> => {
    const workerd = workerdPid();
    if (!hasEnded(child)) process.kill(-nodePid, "SIGKILL");
    await endOf(child);
    await untilGone(workerd);
  };
  return {
    url,
    port: Number(new URL(url).port),
    token: options.env?.["POSTERN_ADMIN_TOKEN"] ?? readFileSync(join(dataDir, "admin-token"), "utf8").trim(),
    dataDir,
    logs,
    pids: () => ({ node: nodePid, workerd: workerdPid() }),
    kill9,
    stop: async () => {
      // Its output ends when the last process that writes to it does.
      const closed = once(child, "close");
      process.kill(nodePid, "SIGTERM");
      await closed;
      return child.exitCode;
    },
    restart: async (env = {}) => {
      await kill9();
      return startGateway({ env: { ...options.env, ...env }, dataDir, port: Number(new URL(url).port) });
    },
    dispose: async () => {
      await kill9();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Returns once the process is gone, whoever is to end it. */
export async function untilGone(pid: number): Promise<void> {
  const deadline = Date.now() + GONE_DEADLINE_MS;
  while (pid > 0 && isRunning(pid)) {
    if (Date.now() > deadline) throw new Error(`process ${pid} still runs`);
    await delay(POLL_MS);
  }
}

function spawnGateway(options: GatewayOptions, dataDir: string): { child: ChildProcess; logs: () => string } {
  // What the developer's shell has set must not decide a test.
  const inherited = Object.entries(process.env).filter(([name]) => !/^(POSTERN_|AWS_|PORT$)/.test(name));
  const child = spawn(join(ROOT, "node_modules/.bin/node"), ["src/local/start.ts"], {
    cwd: ROOT,
    detached: true,
    stdio: ["ignore", "pipe", "pipe"],
    env: {
      ...Object.fromEntries(inherited),
      PORT: String(options.port ?? 0),
      POSTERN_DATA_DIR: dataDir,
      POSTERN_DEMO: "0",
      ...options.env,
    },
  });
  let written = "";
  for (const stream of [child.stdout, child.stderr]) {
    stream?.setEncoding("utf8").on("data", (text: string) => {
      written += text;
    });
  }
  return { child, logs: () => written };
}

async function ready(child: ChildProcess, logs: () => string): Promise<string> {
  const deadline = Date.now() + READY_DEADLINE_MS;
  for (;;) {
    const url = /^ready (http:\/\/\S+)$/m.exec(logs())?.[1];
    if (url !== undefined) return url;
    if (hasEnded(child)) throw new Error(`the gateway ended before it was ready:\n${logs()}`);
    if (Date.now() > deadline) {
      process.kill(-pidOf(child), "SIGKILL");
      throw new Error(`the gateway was not ready in ${READY_DEADLINE_MS} ms:\n${logs()}`);
    }
    await delay(POLL_MS);
  }
}

function pidOf(child: ChildProcess): number {
  if (child.pid === undefined) throw new Error("the gateway could not be started");
  return child.pid;
}

function hasEnded(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

async function endOf(child: ChildProcess): Promise<void> {
  if (!hasEnded(child)) await once(child, "exit");
}
