import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type DataDir,
  claimDataDir,
  keptSecret,
  newKeyRing,
  newToken,
  newWebhookSecret,
  readPorts,
  writePorts,
} from "../../../src/local/data-dir.ts";
import { isRunning } from "../../../src/local/processes.ts";

let path: string;
let dataDir: DataDir;

beforeEach(async () => {
  path = mkdtempSync(join(tmpdir(), "postern-data-"));
  dataDir = await claimDataDir(path);
});

afterEach(() => {
  rmSync(path, { recursive: true, force: true });
});

/** A process that waits, with these words in its command line. */
async function bystander(...words: string[]): Promise<{ pid: number; end: () => void }> {
  const child = spawn(process.execPath, ["-e", "console.log(1); setInterval(() => {}, 1000)", ...words], { stdio: ["ignore", "pipe", "ignore"] });
  await once(child.stdout, "data");
  return { pid: child.pid ?? 0, end: () => void child.kill("SIGKILL") };
}

describe("keptSecret", () => {
  it("makes a secret once and then returns the same, readable by its owner only", () => {
    const first = keptSecret(dataDir, "admin-token", newToken);
    expect(keptSecret(dataDir, "admin-token", newToken)).toBe(first);
    expect(statSync(join(path, "admin-token")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(path, "admin-token"), "utf8")).toBe(`${first}\n`);
  });

  it("leaves nothing aside", () => {
    keptSecret(dataDir, "admin-token", newToken);
    expect(readdirSync(path).filter((name) => name.endsWith(".tmp"))).toEqual([]);
  });
});

describe("what is made", () => {
  it("is a token of at least 160 random bits", () => {
    const [prefix, random] = newToken().split(/_(.*)/s);
    expect(prefix).toBe("pst");
    expect(Buffer.from(random ?? "", "base64url")).toHaveLength(32);
  });

  it("is a key ring entry that the Worker's configuration accepts", () => {
    expect(newKeyRing()).toMatch(/^[A-Za-z0-9_-]{1,32}:[A-Za-z0-9+/]{43}=$/);
  });

  it("is a Standard Webhooks secret of 24 to 64 bytes", () => {
    expect(Buffer.from(newWebhookSecret().replace(/^whsec_/, ""), "base64")).toHaveLength(32);
  });
});

describe("ports", () => {
  it("are those written last, and none at first", () => {
    expect(readPorts(dataDir)).toEqual({});
    writePorts(dataDir, { sqs: 4000 });
    expect(readPorts(dataDir)).toEqual({ sqs: 4000 });
  });
});

describe("claimDataDir", () => {
  it("refuses a directory that another gateway runs on", async () => {
    const other = await bystander("src/local/start.ts");
    try {
      writeFileSync(join(path, "gateway.pid"), String(other.pid));
      await expect(claimDataDir(path)).rejects.toThrow(`process ${other.pid}`);
    } finally {
      other.end();
    }
  });

  it("takes a directory whose gateway was killed, though its number is another process's now", async () => {
    const other = await bystander("something-else");
    try {
      writeFileSync(join(path, "gateway.pid"), String(other.pid));
      await expect(claimDataDir(path)).resolves.toMatchObject({ path });
      expect(readFileSync(join(path, "gateway.pid"), "utf8")).toBe(String(process.pid));
    } finally {
      other.end();
    }
  });

  it("ends a workerd that was left behind", async () => {
    const leftover = await bystander(dataDir.workerdConfig);
    writeFileSync(dataDir.workerdPid, `${leftover.pid}\n`);
    await claimDataDir(path);
    expect(isRunning(leftover.pid)).toBe(false);
  });

  it("spares a process that only has the number of a workerd long gone", async () => {
    const other = await bystander("something-else");
    try {
      writeFileSync(dataDir.workerdPid, `${other.pid}\n`);
      await claimDataDir(path);
      expect(isRunning(other.pid)).toBe(true);
    } finally {
      other.end();
    }
  });
});
