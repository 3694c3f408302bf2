import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { call } from "./api.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { createStream } from "./stream-calls.ts";

const MIB = 1024 * 1024;
const BACKLOG_MIB = 128;
const MAX_GROWTH_MIB = 64;
const ANSWERS_A_LOOK = 4;

let gateway: Gateway;

beforeAll(async () => {
  gateway = await startGateway();
});
afterAll(async () => {
  await gateway.dispose();
});

/** What workerd, all objects and isolates in it, has of the machine's memory. */
function residentMib(): number {
  const { workerd } = gateway.pids();
  return Number(execFileSync("ps", ["-o", "rss=", "-p", String(workerd)], { encoding: "utf8" })) / 1024;
}

type CaughtUp = { readonly bytes: number; readonly largest: number; readonly peakMib: number };

/** Catches up from the beginning, answer by answer. */
async function catchUp(path: string): Promise<CaughtUp> {
  const headers = { authorization: `Bearer ${gateway.token}` };
  let [bytes, largest, peakMib, answers] = [0, 0, 0, 0];
  for (let next = "-1", isOver = false; !isOver; answers++) {
    const answer = await fetch(`${gateway.url}/v1/stream/${path}?offset=${next}`, { headers });
    expect(answer.status).toBe(200);
    const { byteLength } = await answer.arrayBuffer();
    bytes += byteLength;
    largest = Math.max(largest, byteLength);
    if (answers % ANSWERS_A_LOOK === 0) peakMib = Math.max(peakMib, residentMib());
    next = answer.headers.get("stream-next-offset") ?? "";
    isOver = answer.headers.get("stream-up-to-date") === "true";
  }
  return { bytes, largest, peakMib };
}

/**
 * Reads all of it again and again. At first the process takes what it takes once, for code, and for buffers that V8 has
 * yet to collect; if it held on to anything of what is read, the last time would show it.
 *
 * Measured by hand with 1 GiB, read once: heap and buffers of the isolate that the object and the Worker share swing between
 * some 40 and 99 MiB, for V8 collects buffers by the 64 MiB, and the process has 375 MiB at most. Giving buffers back at
 * once, by `transfer(0)`, made that 22 MiB and 724 MiB: so it is not done.
 */
async function catchUpAgain(path: string): Promise<CaughtUp & { readonly growthMib: number }> {
  await catchUp(path);
  const before = await catchUp(path);
  const last = await catchUp(path);
  return { ...last, growthMib: last.peakMib - before.peakMib };
}

describe("a reader that is far behind", () => {
  it("catches up with a stream in bounded answers, and the process does not grow with what there is to read", async () => {
    const headers = { "content-type": "application/octet-stream" };
    await createStream(gateway, "far/behind", headers["content-type"]);
    const raw = Buffer.alloc(8 * MIB, "postern");
    for (let sent = 0; sent < BACKLOG_MIB; sent += 8) expect((await call(gateway, "POST", "/v1/stream/far/behind", { headers, raw })).status).toBe(204);
    gateway = await gateway.restart();
    const { bytes, largest, growthMib } = await catchUpAgain("far/behind");
    expect(bytes).toBe(BACKLOG_MIB * MIB);
    expect(largest).toBeLessThanOrEqual(MIB);
    expect(growthMib).toBeLessThan(MAX_GROWTH_MIB);
  });

  it("catches up with the log of a topic likewise", async () => {
    const messages = Array.from({ length: 500 }, () => ({ topic: "far.behind", data: "x".repeat(8_192) }));
    for (let sent = 0; sent < BACKLOG_MIB; sent += 4) expect((await call(gateway, "POST", "/v1/batch", { body: { messages } })).status).toBe(202);
    gateway = await gateway.restart();
    const { bytes, largest, growthMib } = await catchUpAgain("topics/far.behind");
    expect(bytes).toBeGreaterThan(BACKLOG_MIB * 0.95 * MIB);
    expect(largest).toBeLessThanOrEqual(4 * MIB);
    expect(growthMib).toBeLessThan(MAX_GROWTH_MIB);
  });
});
