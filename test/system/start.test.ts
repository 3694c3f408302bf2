import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { jsonObject, textField } from "../../src/local/api.ts";
import { isRunning, killAndWait } from "../../src/local/processes.ts";
import { failToStart, type Gateway, startGateway, untilGone } from "./gateway.ts";
import { startReceiver } from "./receiver.ts";

/** What the start itself wrote; the Worker and the subscriber write JSON. */
function linesOf(gateway: Gateway): string[] {
  return gateway.logs().split("\n").filter((line) => line !== "" && !line.startsWith("{"));
}

async function call(gateway: Gateway, method: string, path: string, body?: unknown): Promise<Response> {
  return fetch(gateway.url + path, {
    method,
    headers: { authorization: `Bearer ${gateway.token}`, "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
}

/** Resolves once the gateway serves again after its workerd was ended. */
async function untilServing(gateway: Gateway): Promise<void> {
  const deadline = Date.now() + 20_000;
  for (;;) {
    const ok = await fetch(`${gateway.url}/healthz`).then((response) => response.ok, () => false);
    if (ok) return;
    if (Date.now() > deadline) throw new Error(`it does not serve again:\n${gateway.logs()}`);
  }
}

describe("npm start with the demo", () => {
  let gateway: Gateway;
  beforeAll(async () => {
    gateway = await startGateway({ env: { POSTERN_DEMO: "1" } });
  });
  afterAll(() => gateway.dispose());

  it("shows that a message published to SNS arrived, verified, at the demo subscriber", async () => {
    const id = /^Demo: SNS message (\S+) → .* verified by the demo subscriber/m.exec(gateway.logs())?.[1];
    const subscriber = /^Demo subscriber\s+(\S+)$/m.exec(gateway.logs())?.[1];
    const received = await (await fetch(`${subscriber}received`)).json();
    expect(received).toMatchObject({ data: [{ id, topic: "demo.sns", attempt: "1" }] });
  });

  it("says `ready` last", () => {
    expect(linesOf(gateway).at(-1)).toBe(`ready ${gateway.url}`);
  });

  it("shows commands that work as they stand", async () => {
    const sns = /^SNS simulator\s+(\S+)$/m.exec(gateway.logs())?.[1] ?? "";
    const topicArn = /-d TopicArn=(\S+)$/m.exec(gateway.logs())?.[1] ?? "";
    const form = new URLSearchParams({ Action: "Publish", Version: "2010-03-31", Message: "hello", TopicArn: topicArn });
    expect((await fetch(sns, { method: "POST", body: form })).status).toBe(200);
    expect((await call(gateway, "POST", "/v1/events/demo.hello", { hello: "world" })).status).toBe(202);
  });

  it("finds its endpoint and source again at the next start", async () => {
    gateway = await gateway.restart();
    expect(gateway.logs()).toMatch(/^Demo: SNS message .* verified/m);
    expect(gateway.logs()).toMatch(/^Migrations: none to apply$/m);
    for (const path of ["/v1/endpoints", "/v1/sources"]) {
      expect(await (await call(gateway, "GET", path)).json()).toMatchObject({ data: [{ id: expect.any(String) }], next: null });
    }
  });
});

describe("npm start when the demo fails", () => {
  it("says why and serves all the same", async () => {
    const gateway = await startGateway({ env: { POSTERN_DEMO: "1", POSTERN_ENCRYPTION_KEYS: "none" } });
    try {
      expect(gateway.logs()).toMatch(/^Demo: it failed, and the gateway serves all the same: GET \/v1\/endpoints\?limit=250 was answered 500/m);
      expect((await fetch(`${gateway.url}/healthz`)).status).toBe(200);
    } finally {
      await gateway.dispose();
    }
  });
});

describe("npm start", () => {
  let gateway: Gateway;
  let endpointId: string;
  beforeAll(async () => {
    gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: "127.0.0.1:9" } });
    const created = await call(gateway, "POST", "/v1/endpoints", { kind: "push", url: "http://127.0.0.1:9/", topics: ["a.b"] });
    endpointId = textField(jsonObject(await created.json()), "id");
  });
  afterAll(() => gateway.dispose());

  const endpointIsThere = async (): Promise<boolean> => (await call(gateway, "GET", `/v1/endpoints/${endpointId}`)).status === 200;

  it("makes a token, shows it, and keeps it for its owner alone", () => {
    expect(gateway.token).toMatch(/^pst_/);
    expect(gateway.logs()).toContain(gateway.token);
    for (const name of ["admin-token", "encryption-keys"]) {
      expect(statSync(join(gateway.dataDir, name)).mode & 0o777).toBe(0o600);
    }
  });

  it("writes no secret into what it generates", () => {
    const secrets = ["admin-token", "encryption-keys", "subscriber-secret"].map((name) => readFileSync(join(gateway.dataDir, name), "utf8").trim());
    const build = join(gateway.dataDir, "build");
    for (const name of readdirSync(build)) {
      const text = readFileSync(join(build, name), "utf8");
      for (const secret of secrets) expect(text.includes(secret), name).toBe(false);
    }
  });

  // Only Linux has all of 127.0.0.0/8 without being asked.
  it.runIf(process.platform === "linux")("listens on loopback only", async () => {
    const server = createServer();
    // The same port of another address is free, which it is not under a listener on all of them.
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen({ host: "127.0.0.2", port: gateway.port, exclusive: true }, resolve);
    });
    server.close();
  });

  it("refuses a directory that a gateway runs on", async () => {
    const { code, logs } = await failToStart({ dataDir: gateway.dataDir });
    expect(code).toBe(1);
    expect(logs).toContain(`process ${gateway.pids().node}`);
    expect(await endpointIsThere()).toBe(true);
  });

  it("refuses a port that is taken, and names it", async () => {
    const { code, logs } = await failToStart({ port: gateway.port });
    expect(code).toBe(1);
    expect(logs).toContain(`port ${gateway.port} is in use`);
  });

  it("starts workerd again when that alone is killed", async () => {
    const before = gateway.pids().workerd;
    await killAndWait(before);
    await untilServing(gateway);
    expect(gateway.pids().workerd).not.toBe(before);
    expect(await endpointIsThere()).toBe(true);
    expect(gateway.logs()).toMatch(/^workerd ended by itself .*: starting it again$/m);
  });

  it("has the same address, token and data after a kill -9 of everything", async () => {
    const before = gateway;
    gateway = await gateway.restart();
    expect(gateway.pids().node).not.toBe(before.pids().node);
    expect(gateway.url).toBe(before.url);
    expect(gateway.token).toBe(before.token);
    expect(await endpointIsThere()).toBe(true);
  });

  it("leaves no workerd behind when it is killed itself", async () => {
    const { node, workerd } = gateway.pids();
    process.kill(node, "SIGKILL");
    await untilGone(workerd);
    expect(isRunning(workerd)).toBe(false);
  });

  it("stops when asked to, with exit code 0 and nothing left running", async () => {
    gateway = await gateway.restart();
    expect(await endpointIsThere()).toBe(true);
    const { workerd } = gateway.pids();
    expect(await gateway.stop()).toBe(0);
    expect(isRunning(workerd)).toBe(false);
  });
});

describe("npm start with a token and endpoints of its own", () => {
  it("uses them, shows no token, and starts no emulator", async () => {
    const aws = await startReceiver();
    const token = "pst_given_0123456789012345678901234567890123456789";
    const env = { POSTERN_ADMIN_TOKEN: token, POSTERN_SNS_ENDPOINT: aws.url, POSTERN_SQS_ENDPOINT: aws.url };
    const gateway = await startGateway({ env });
    try {
      expect((await call(gateway, "GET", "/v1/endpoints")).status).toBe(200);
      expect(gateway.logs()).not.toContain(token);
      expect(gateway.logs()).not.toMatch(/simulator|emulator/);
      expect(existsSync(join(gateway.dataDir, "admin-token"))).toBe(false);
    } finally {
      await gateway.dispose();
      await aws.close();
    }
  });
});

describe("npm start when npm is killed", () => {
  it("ends at once, with requests under way too, so that it can be started again the next moment", async () => {
    const dataDir = mkdtempSync(join(tmpdir(), "postern-"));
    const token = "pst_given_0123456789012345678901234567890123456789";
    const env = { ...process.env, PORT: "0", POSTERN_DEMO: "0", POSTERN_DATA_DIR: dataDir, POSTERN_ADMIN_TOKEN: token, npm_lifecycle_event: "start" };
    // In npm's place: a parent that says nothing when it is killed.
    const npm = spawn("sh", ["-c", "node src/local/start.ts & wait"], { env, stdio: ["ignore", "pipe", "inherit"] });
    try {
      let url: string | undefined;
      for await (const text of npm.stdout) if ((url = /^ready (\S+)$/m.exec(String(text))?.[1])) break;
      const tail = await fetch(`${url}/v1/tail?topic=**`, { headers: { authorization: `Bearer ${token}` } });
      expect(tail.status).toBe(200);
      const pids = ["gateway.pid", "workerd.pid"].map((name) => Number(readFileSync(join(dataDir, name), "utf8")));
      npm.kill("SIGKILL");
      const killedAt = Date.now();
      for (const pid of pids) await untilGone(pid);
      expect(Date.now() - killedAt).toBeLessThan(1_500);
      expect(pids.filter((pid) => isRunning(pid))).toEqual([]);
      await tail.text().catch(() => undefined);
    } finally {
      npm.kill("SIGKILL");
      rmSync(dataDir, { recursive: true, force: true });
    }
  });
});
