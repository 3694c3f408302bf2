import { describe, expect, it } from "vitest";
import type { LogRead, ReadableLog } from "../../../src/streams/protocol/readable-log.ts";
import { cursorValues, parseCursorValues, type TailCursor } from "../../../src/tail/cursor.ts";
import { HandOver, NOTHING } from "../../../src/tail/hand-over.ts";
import { Tail, type TailedTopic, type TailWorld } from "../../../src/tail/tail.ts";

const encoder = new TextEncoder();

/** A log in memory: `from` times are offsets here, so that a test sees what was asked for. */
class MemoryLog implements ReadableLog {
  readonly messages: unknown[] = [];
  readonly asked: unknown[] = [];
  earliest = 0;
  failures = 0;
  #wake: (() => void)[] = [];

  add(...messages: unknown[]): void {
    this.messages.push(...messages);
    for (const wake of this.#wake.splice(0)) wake();
  }

  async head(): Promise<never> {
    throw new Error("a tail asks for no head");
  }

  async read(from: Parameters<ReadableLog["read"]>[0], waitMs: number): Promise<LogRead> {
    this.asked.push(from);
    if (this.failures-- > 0) throw new Error("the object was moved");
    const start = typeof from === "object" ? from.sinceMs : Number(from);
    if (start > this.messages.length) return { ok: false, code: "beyond-head", tail: this.messages.length };
    if (start === this.messages.length && waitMs > 0) await new Promise<void>((resolve) => this.#wake.push(resolve));
    if (start < this.earliest) return { ok: false, code: "trimmed", earliest: this.earliest };
    const bytes = encoder.encode(this.messages.slice(start).map((message) => JSON.stringify(message)).join(","));
    const info = { incarnation: "", contentType: "application/json", closed: false, tail: this.messages.length, ttlSeconds: null, expiresAt: null };
    return { ok: true, info, stretch: { from: start, next: this.messages.length, bytes } };
  }
}

function world(logs: Record<string, MemoryLog>, changes: Partial<TailWorld> = {}): TailWorld {
  return {
    openLog: (topic) => logs[topic] ?? new MemoryLog(),
    newTopics: async () => [],
    cursorText: async (cursor) => JSON.stringify(cursorValues(cursor)),
    now: () => 0,
    pause: () => new Promise((resolve) => setTimeout(resolve, 1)),
    background: (work) => void work,
    ...changes,
  };
}

const start = (positions: [number, number][] = []): TailCursor => ({ sinceMs: 0, positions: new Map(positions) });
const topic = (number: number): TailedTopic => ({ number, name: `t${number}` });

describe("a tail's cursor", () => {
  it("survives being written down", () => {
    const cursor = { sinceMs: 1_700_000_000_000, positions: new Map([[3, 17], [1, 0]]) };
    expect(parseCursorValues(cursorValues(cursor))).toEqual(cursor);
    expect(parseCursorValues(cursorValues(start()))).toEqual(start());
    expect(() => parseCursorValues([])).toThrow();
    expect(() => parseCursorValues([1, 2])).toThrow();
  });
});

describe("a tail", () => {
  it("says first where it begins, then gives every event an id that covers it and all before it", async () => {
    const logs = { t1: new MemoryLog(), t2: new MemoryLog() };
    const tail = new Tail(start(), [topic(1), topic(2)], world(logs));
    expect(await tail.next()).toBe("retry: 1000\nid: [0]\n\n");
    logs.t1.add({ a: 1 }, { a: 2 });
    expect(await tail.next()).toBe('id: [0,1,1]\ndata: {"a":1}\n\nid: [0,1,2]\ndata: {"a":2}\n\n');
    logs.t2.add({ b: "x\ny" });
    expect(await tail.next()).toBe('id: [0,1,2,2,1]\ndata: {"b":"x\\ny"}\n\n');
    tail.end();
    expect(await tail.next()).toBeNull();
  });

  it("goes on where its cursor says, and by time where that says nothing", async () => {
    const logs = { t1: new MemoryLog(), t2: new MemoryLog() };
    logs.t1.add(0, 1, 2);
    logs.t2.add(0, 1);
    const tail = new Tail({ sinceMs: 1, positions: new Map([[1, 2]]) }, [topic(1), topic(2)], world(logs));
    await tail.next();
    expect([await tail.next(), await tail.next()].sort()).toEqual([
      "id: [1,1,3,2,2]\ndata: 1\n\n",
      "id: [1,1,3]\ndata: 2\n\n",
    ]);
    expect(logs.t1.asked[0]).toBe(2);
    expect(logs.t2.asked[0]).toEqual({ sinceMs: 1 });
    tail.end();
  });

  it("tells of what was trimmed while nobody watched, and goes on after it", async () => {
    const logs = { t1: new MemoryLog() };
    logs.t1.add(0, 1, 2);
    logs.t1.earliest = 2;
    const tail = new Tail(start([[1, 0]]), [topic(1)], world(logs));
    await tail.next();
    expect(await tail.next()).toBe('event: gap\nid: [0,1,2]\ndata: {"topic":"t1","from":0,"to":2}\n\n');
    expect(await tail.next()).toBe("id: [0,1,3]\ndata: 2\n\n");
    tail.end();
  });

  it("asks again where a log did not answer, and loses nothing by it", async () => {
    const logs = { t1: new MemoryLog() };
    logs.t1.add("kept");
    logs.t1.failures = 2;
    const tail = new Tail(start(), [topic(1)], world(logs));
    await tail.next();
    expect(await tail.next()).toBe('id: [0,1,1]\ndata: "kept"\n\n');
    tail.end();
  });

  it("follows topics that appear, and ends when they are too many or its time is over", async () => {
    const logs = { t1: new MemoryLog() };
    logs.t1.add("new");
    const answers: (readonly TailedTopic[] | null)[] = [[], [topic(1)], null];
    const crowded = new Tail(start(), [], world(logs, { newTopics: async () => answers.shift() ?? null }));
    await crowded.next();
    expect(await crowded.next()).toBe('id: [0,1,1]\ndata: "new"\n\n');
    expect(await crowded.next()).toBeNull();

    let now = 0;
    const old = new Tail(start(), [], world({}, { now: () => (now += 60 * 60_000) }));
    await old.next();
    expect(await old.next()).toBeNull();
  });
});

describe("catching up", () => {
  it("reads a few topics at a time, and each to its end", async () => {
    let reading = 0;
    let most = 0;
    class CountedLog extends MemoryLog {
      override async read(...asked: Parameters<MemoryLog["read"]>): Promise<LogRead> {
        if (asked[1] > 0) return super.read(...asked);
        most = Math.max(most, ++reading);
        await new Promise((resolve) => setTimeout(resolve, 1));
        reading--;
        return super.read(...asked);
      }
    }
    const topics = Array.from({ length: 40 }, (_, index) => topic(index + 1));
    const logs = Object.fromEntries(topics.map(({ name }) => [name, new CountedLog()]));
    for (const log of Object.values(logs)) log.add("old");
    const tail = new Tail(start(), topics, world(logs));
    await tail.next();
    let text = "";
    for (let count = 0; count < topics.length; count++) text += await tail.next();
    expect(text.match(/^data: "old"$/gm)).toHaveLength(40);
    expect(most).toBe(8);
    tail.end();
  });
});

describe("handing over", () => {
  it("gives items in their order, each to be taken before its producer goes on", async () => {
    const hands = new HandOver<number>();
    let taken = false;
    const first = hands.offer(1).then(() => (taken = true));
    void hands.offer(2);
    await Promise.resolve();
    expect(taken).toBe(false);
    expect(await hands.take(10)).toBe(1);
    await first;
    expect(taken).toBe(true);
    hands.close();
    expect(await hands.take(10)).toBe(2);
    expect(await hands.take(10)).toBeNull();
    await hands.offer(3);
    expect(await hands.take(10)).toBeNull();
  });

  it("says when nothing came", async () => {
    const hands = new HandOver<number>();
    expect(await hands.take(1)).toBe(NOTHING);
    setTimeout(() => void hands.offer(7), 5);
    expect(await hands.take(5_000)).toBe(7);
  });
});
