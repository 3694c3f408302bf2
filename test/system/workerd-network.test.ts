import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { freePort } from "../../src/local/addresses.ts";
import { workerdConfig } from "../../src/local/workerd-config.ts";
import { startWorkerd } from "../../src/local/workerd-process.ts";
import { parseWrangler } from "../../src/local/wrangler-file.ts";
import { startReceiver } from "./receiver.ts";

const WORKER = `export default {
  async fetch(request) {
    const url = new URL(request.url).searchParams.get("url");
    if (url === null) return new Response("alive");
    return fetch(url).then((response) => new Response("reached " + response.status), () => new Response("not reached"));
  }
};`;

const WRANGLER = 'name = "probe"\nmain = "worker.js"\ncompatibility_date = "2026-11-01"\n';

/** What a Worker under this configuration makes of a URL, with no guard of its own. */
async function reach(url: string, allowAddresses: readonly string[]): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "postern-network-"));
  const port = await freePort("127.0.0.1", 0);
  const configPath = join(directory, "workerd.capnp");
  const stateDir = join(directory, "state");
  mkdirSync(stateDir);
  writeFileSync(join(directory, "worker.js"), WORKER);
  const options = { workerPath: "worker.js", stateDir, listen: `127.0.0.1:${port}`, environment: [], allowAddresses, drainListen: null, companions: [] };
  writeFileSync(configPath, workerdConfig(parseWrangler(WRANGLER), options));
  const aliveUrl = `http://127.0.0.1:${port}/`;
  const workerd = await startWorkerd({ configPath, pidPath: join(directory, "workerd.pid"), environment: process.env, aliveUrl });
  try {
    return await (await fetch(`${aliveUrl}?url=${encodeURIComponent(url)}`)).text();
  } finally {
    await workerd.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

describe("the network that workerd is given", () => {
  it("has no private address in it, nor a name that resolves to one, unless that address is listed", async () => {
    const receiver = await startReceiver();
    try {
      const byName = receiver.url.replace("127.0.0.1", "localhost");
      expect(await reach(receiver.url, [])).toBe("not reached");
      expect(await reach(byName, [])).toBe("not reached");
      expect(receiver.requests).toHaveLength(0);
      expect(await reach(receiver.url, ["127.0.0.1"])).toBe("reached 204");
    } finally {
      await receiver.close();
    }
  });
});
