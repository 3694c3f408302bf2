import { describe, expect, it } from "vitest";
import { LiveFeed } from "../../../../src/streams/protocol/live-feed.ts";
import type { LogRead, ReadableLog } from "../../../../src/streams/protocol/readable-log.ts";

/** A log in memory of which one read gives `most` bytes; what `arrives` is added by a read that waits. */
function memoryLog(start: string, contentType: string, most: number, arrives: readonly (string | null)[]) {
  let bytes = Buffer.from(start);
  let closed = false;
  let nowMs = Date.UTC(2026, 0, 1);
  const left = [...arrives];
  const waits: number[] = [];
  const read = async (from: number, waitMs: number): Promise<LogRead> => {
    if (from === bytes.length && waitMs > 0) {
      waits.push(waitMs);
      const next = left.shift();
      if (next === undefined) nowMs += waitMs;
      else if (next === null) closed = true;
      else bytes = Buffer.concat([bytes, Buffer.from(next, "latin1")]);
    }
    const info = { incarnation: "i", contentType, closed, tail: bytes.length, ttlSeconds: null, expiresAt: null };
    const next = Math.min(from + most, bytes.length);
    return { ok: true, info, stretch: { from, next, bytes: bytes.subarray(from, next) } };
  };
  const log: ReadableLog = { head: () => Promise.reject(new Error("not asked")), read: (from, waitMs) => read(Number(from), waitMs) };
  const follow = async (): Promise<{ events: string[]; waits: number[] }> => {
    const first = await read(0, 0);
    if (!first.ok) throw new Error(first.code);
    const feed = new LiveFeed(log, first, undefined, { now: () => nowMs, random: () => 0 });
    const events: string[] = [];
    for (let next = await feed.next(); next !== null; next = await feed.next()) events.push(next);
    return { events, waits };
  };
  return follow;
}

const dataOf = (events: readonly string[]) => events.flatMap((event) => /^event: data\ndata:(.*)$/m.exec(event)?.[1] ?? []);
const controlsOf = (events: readonly string[]) => events.map((event) => JSON.parse(/event: control\ndata:(.*)/.exec(event)?.[1] ?? "null"));

describe("a live feed", () => {
  it("catches up in bounded reads, then waits, and says where it is after every one", async () => {
    const { events } = await memoryLog("abcde", "text/plain", 2, ["f"])();
    expect(dataOf(events)).toEqual(["ab", "cd", "e", "f"]);
    const controls = controlsOf(events);
    expect(controls.map(({ streamNextOffset }) => Number(streamNextOffset.split("_")[1])).slice(0, 4)).toEqual([2, 4, 5, 6]);
    expect(controls.map(({ upToDate }) => upToDate).slice(0, 4)).toEqual([undefined, undefined, true, true]);
    expect(controls.every(({ streamCursor }) => /^[0-9]+$/.test(streamCursor))).toBe(true);
  });

  it("shows somebody is there every 15 s, and is over after a minute", async () => {
    const { events, waits } = await memoryLog("", "text/plain", 10, [])();
    expect(waits).toEqual([15_000, 15_000, 15_000, 15_000]);
    expect(events).toHaveLength(5);
  });

  it("ends with the stream, at once when it is closed already", async () => {
    const { events } = await memoryLog("a", "text/plain", 10, [null])();
    expect(controlsOf(events).at(-1)).toEqual({ streamNextOffset: "0000000000000000_0000000000000001", streamClosed: true });
    expect(events).toHaveLength(2);
  });

  it("holds back the start of a character, and gives it up when the stream is closed", async () => {
    const euro = Buffer.from("€").toString("latin1");
    const whole = await memoryLog("x", "text/plain", 10, [euro.slice(0, 1), euro.slice(1), null])();
    expect(dataOf(whole.events)).toEqual(["x", "€"]);
    const cut = await memoryLog("x", "text/plain", 10, [euro.slice(0, 1), null])();
    expect(dataOf(cut.events)).toEqual(["x", "\ufffd"]);
  });

  it("shows messages as arrays and bytes in base 64", async () => {
    expect(dataOf((await memoryLog('{"a":1}', "application/json", 10, [null])()).events)).toEqual(['[{"a":1}]']);
    expect(dataOf((await memoryLog("hi", "image/png", 10, [null])()).events)).toEqual(["aGk="]);
  });
});
