import { copyFileSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { transformSync } from "esbuild";
import workerd from "workerd";
import { spawnProgram, stopProcess } from "../processes.ts";
import type { Subscriber, System } from "../system.ts";

/** Starts the bare relay in a workerd of its own, its files under `directory`. */
export async function startRelay(directory: string): Promise<System> {
  const state = join(directory, "state");
  mkdirSync(state, { recursive: true });
  const source = readFileSync(new URL("relay.worker.ts", import.meta.url), "utf8");
  writeFileSync(join(directory, "relay.js"), transformSync(source, { loader: "ts", target: "es2024" }).code);
  copyFileSync(new URL("relay.capnp", import.meta.url), join(directory, "relay.capnp"));

  const child = spawnProgram(
    workerd.default,
    ["serve", "--experimental", "--control-fd=3", `--directory-path=state=${state}`, join(directory, "relay.capnp")],
    { stdio: ["ignore", "inherit", "inherit", "pipe"] },
  );
  const ports = await listeningPorts(child.stdio[3] as Readable, 2);
  const port = (name: string): number => {
    const found = ports.get(name);
    if (found === undefined) throw new Error(`workerd did not report the socket ${name}`);
    return found;
  };
  return {
    name: "relay",
    port: port("relay"),
    pid: child.pid ?? 0,
    headers: {},
    subscribe: (topic, subscribers) => subscribe(port("setup"), topic, subscribers),
    stop: () => stopProcess(child),
  };
}

async function subscribe(setupPort: number, topic: string, subscribers: readonly Subscriber[]): Promise<void> {
  const response = await fetch(`http://127.0.0.1:${setupPort}/`, { method: "POST", body: JSON.stringify({ topic, subscribers }) });
  if (!response.ok) throw new Error(`relay setup: ${response.status} ${await response.text()}`);
}

/** workerd reports each socket that listens as a line of JSON, `{"event":"listen","socket":…,"port":…}`. */
async function listeningPorts(control: Readable, count: number): Promise<Map<string, number>> {
  const ports = new Map<string, number>();
  let text = "";
  for await (const chunk of control.iterator({ destroyOnReturn: false })) {
    text += String(chunk);
    const lines = text.split("\n");
    text = lines.pop() ?? "";
    for (const line of lines) {
      const report = JSON.parse(line) as { event: string; socket: string; port: number };
      if (report.event === "listen") ports.set(report.socket, report.port);
    }
    if (ports.size === count) return ports;
  }
  throw new Error("workerd ended before the relay listened");
}
