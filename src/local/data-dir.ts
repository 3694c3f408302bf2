import { randomBytes } from "node:crypto";
import { closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { commandLine, readPid } from "./processes.ts";
import { endLeftoverWorkerd } from "./workerd-process.ts";

/** Where everything of one gateway is kept. All paths are absolute. */
export type DataDir = {
  readonly path: string;
  /** Databases, queues, objects: what must outlive a restart. */
  readonly state: string;
  /** The emulated SQS's own database. */
  readonly sqs: string;
  /** Bundles and configurations, made anew at every start. */
  readonly build: string;
  readonly workerdConfig: string;
  readonly workerdPid: string;
};

/** A gateway that is stopping is given this long to be gone: more than it takes for that. */
const OWNER_GRACE_MS = 4_000;
const POLL_MS = 20;

/**
 * Makes the directory ours. A workerd that a killed gateway left behind is ended; a gateway that still runs on it is
 * an `Error`, for two of them would write to the same databases.
 */
export async function claimDataDir(path: string): Promise<DataDir> {
  const dataDir: DataDir = {
    path,
    state: join(path, "state"),
    sqs: join(path, "sqs"),
    build: join(path, "build"),
    workerdConfig: join(path, "build", "workerd.capnp"),
    workerdPid: join(path, "workerd.pid"),
  };
  for (const directory of [path, dataDir.state, dataDir.sqs, dataDir.build]) {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }
  const gatewayPid = join(path, "gateway.pid");
  const owner = readPid(gatewayPid);
  const ended = owner === null || owner === process.pid || (await within(OWNER_GRACE_MS, () => !isGateway(owner)));
  if (!ended) {
    throw new Error(`another gateway runs on ${path} (process ${owner}): stop it, or set POSTERN_DATA_DIR`);
  }
  await endLeftoverWorkerd(dataDir.workerdPid);
  writeDurably(gatewayPid, String(process.pid));
  return dataDir;
}

function isGateway(pid: number): boolean {
  return commandLine(pid).includes("start.ts");
}

/** Whether it came to hold in this time. */
async function within(timeMs: number, holds: () => boolean): Promise<boolean> {
  const deadline = Date.now() + timeMs;
  while (!holds()) {
    if (Date.now() > deadline) return false;
    await delay(POLL_MS);
  }
  return true;
}

/** The text kept under this name; made, and on disk for good, when there is none. Mode 0600. */
export function keptSecret(dataDir: DataDir, name: string, make: () => string): string {
  const path = join(dataDir.path, name);
  if (existsSync(path)) return readFileSync(path, "utf8").trim();
  const secret = make();
  writeDurably(path, `${secret}\n`);
  return secret;
}

/** An operator token: `pst_` and 256 random bits. */
export function newToken(): string {
  return `pst_${randomBytes(32).toString("base64url")}`;
}

/** A key ring of one AES-256 key. */
export function newKeyRing(): string {
  return `local:${randomBytes(32).toString("base64")}`;
}

/** A Standard Webhooks secret of 32 random bytes. */
export function newWebhookSecret(): string {
  return `whsec_${randomBytes(32).toString("base64")}`;
}

/** Ports of the last start, so that addresses noted elsewhere still hold after this one. */
export function readPorts(dataDir: DataDir): Readonly<Record<string, number>> {
  const path = join(dataDir.path, "ports.json");
  if (!existsSync(path)) return {};
  const parsed: unknown = JSON.parse(readFileSync(path, "utf8"));
  if (typeof parsed !== "object" || parsed === null) return {};
  return Object.fromEntries(
    Object.entries(parsed).filter((entry): entry is [string, number] => typeof entry[1] === "number"),
  );
}

export function writePorts(dataDir: DataDir, ports: Readonly<Record<string, number>>): void {
  writeDurably(join(dataDir.path, "ports.json"), `${JSON.stringify(ports)}\n`);
}

/** Whole or not at all, whenever the process is killed: written aside, flushed, renamed. */
function writeDurably(path: string, text: string): void {
  const aside = `${path}.${process.pid}.tmp`;
  writeFileSync(aside, text, { mode: 0o600 });
  const file = openSync(aside, "r");
  fsyncSync(file);
  closeSync(file);
  renameSync(aside, path);
}
