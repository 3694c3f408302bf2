import { beforeEach, describe, expect, it, vi } from "vitest";
import { SegmentArchive } from "../../../src/streams/archive.ts";
import type { Append } from "../../../src/streams/contract.ts";
import { LogReader } from "../../../src/streams/log-reader.ts";
import { createTables } from "../../../src/streams/schema.ts";
import { entriesOf, SegmentLog } from "../../../src/streams/segment-log.ts";
import { openSql } from "../replay/object-sql.ts";

const DAY_MS = 24 * 60 * 60 * 1000;
const NOW = 100 * DAY_MS;
const STREAM = "ten_a/topics/orders";

/** A bucket in memory, whose calls can be held up or made to fail. */
class MemoryBucket {
  readonly objects = new Map<string, Uint8Array>();
  puts = 0;
  before: (call: "put" | "get" | "delete") => Promise<void> | void = () => undefined;

  async put(key: string, value: Uint8Array): Promise<void> {
    this.puts++;
    await this.before("put");
    this.objects.set(key, value.slice());
  }

  async get(key: string, { range }: { range?: { offset: number; length: number } } = {}): Promise<object | null> {
    await this.before("get");
    const value = this.objects.get(key);
    if (value === undefined) return null;
    const part = range === undefined ? value : value.subarray(range.offset, range.offset + range.length);
    return { arrayBuffer: async () => part.slice().buffer };
  }

  async delete(keys: readonly string[]): Promise<void> {
    await this.before("delete");
    for (const key of keys) this.objects.delete(key);
  }
}

/** What is on disk: it outlives the parts of the object that work on it. */
type Disk = { readonly sql: SqlStorage; readonly kv: Map<string, unknown>; readonly bucket: MemoryBucket };
type Opened = { readonly log: SegmentLog; readonly archive: SegmentArchive; readonly reader: LogReader; workedOffBefore: number };

let disk: Disk;
let opened: Opened;

function open(bucket: MemoryBucket | null = disk.bucket): Opened {
  const { sql, kv } = disk;
  const log = new SegmentLog(sql);
  const state = { workedOffBefore: Number.POSITIVE_INFINITY };
  const storage = {
    sql,
    kv: { get: (key: string) => kv.get(key), put: (key: string, value: unknown) => void kv.set(key, value) },
    transactionSync: <Value>(work: () => Value) => work(),
  };
  const archive = new SegmentArchive({
    storage: storage as unknown as DurableObjectStorage,
    bucket: bucket as unknown as R2Bucket | null,
    stream: () => STREAM,
    afterMs: () => DAY_MS,
    workedOffBefore: () => state.workedOffBefore,
  });
  return Object.assign(state, { log, archive, reader: new LogReader(sql, log, archive) });
}

function message(text: string): Append {
  return {
    message: { id: `msg_${text.length}`, deduplicate: false, contentType: "text/plain", attributes: { é: "€" }, traceparent: "", body: new TextEncoder().encode(text) },
    endpointIds: [],
  };
}

/** A segment for each list of texts, all of them long ago but for the last. */
function write(...segments: readonly (readonly string[])[]): void {
  const checkpoint = { settledBefore: 0, historyBefore: 0 };
  segments.forEach((texts, index) => {
    opened.log.append(texts.map(message), index === segments.length - 1 ? NOW : NOW - 5 * DAY_MS + index, checkpoint);
  });
}

/** Everything from an offset on, as a reader gets it in answers of some bytes. */
async function textsFrom(from: number, maxBytes = 300): Promise<string[]> {
  const texts: string[] = [];
  for (let at = from; at < opened.log.nextOffset; ) {
    const read = await opened.reader.read({ from: at, maxBytes, waitMs: 0 });
    if (!read.ok) throw new Error(read.code);
    for (const { firstOffset, timeMs, messages, bodies } of read.segments) {
      let start = 0;
      for (const { offset, size } of entriesOf({ first_offset: firstOffset, time: timeMs, messages })) {
        if (offset === at) {
          texts.push(new TextDecoder().decode(bodies.subarray(start, start + size)));
          at++;
        }
        start += size;
      }
    }
  }
  return texts;
}

const rows = () => disk.sql.exec<{ messages: string; size: number }>("SELECT messages, length(bodies) AS size FROM segments ORDER BY first_offset").toArray().map((row) => ({ ...row }));
const movedRows = () => rows().map(({ messages, size }) => messages.startsWith("@") && size === 0);
const states = () => disk.sql.exec<{ state: string }>("SELECT state FROM archives").toArray().map(({ state }) => state);
const TEXTS = [["a", "bé"], ["c"], ["", "d".repeat(400)], ["e"], ["newest"]];
const ALL = TEXTS.flat();

beforeEach(() => {
  vi.useFakeTimers({ toFake: ["Date"], now: NOW });
  vi.spyOn(console, "warn").mockImplementation(() => undefined);
  disk = { sql: openSql(), kv: new Map(), bucket: new MemoryBucket() };
  createTables(disk.sql);
  opened = open();
  write(...TEXTS);
  return () => {
    vi.useRealTimers();
    vi.restoreAllMocks();
  };
});

describe("the archive of a log", () => {
  it("takes segments that are old enough as one object, all but the newest, and reads cross over to it unseen", async () => {
    const before = { from: opened.log.earliestOffset, bytes: opened.log.bytes, at: opened.log.offsetAt(NOW - 5 * DAY_MS + 2) };
    expect(opened.archive.nextStepMs()).toBeLessThan(NOW);
    await opened.archive.step(NOW);
    expect(movedRows()).toEqual([true, true, true, true, false]);
    expect([...disk.bucket.objects.keys()]).toEqual([expect.stringMatching(/^ten_a\/topics\/orders\/0{16}-[0-9a-f-]{36}$/)]);
    for (const maxBytes of [1, 300, 100_000]) for (const from of ALL.keys()) expect(await textsFrom(from, maxBytes)).toEqual(ALL.slice(from));
    opened = open();
    expect(await textsFrom(0)).toEqual(ALL);
    expect({ from: opened.log.earliestOffset, bytes: opened.log.bytes, at: opened.log.offsetAt(NOW - 5 * DAY_MS + 2) }).toEqual(before);
    expect(opened.archive.nextStepMs()).toBeNull();
    expect(await opened.archive.content(1)).toMatchObject({ ok: true, contentType: "text/plain", body: new TextEncoder().encode("bé") });
    expect(await opened.archive.content(6)).toBeNull();
    expect(opened.log.read(1)).toBeNull();
  });

  it("leaves what is young, not worked off, or there is no bucket for", async () => {
    opened.workedOffBefore = 3;
    await opened.archive.step(NOW);
    expect(movedRows()).toEqual([true, true, false, false, false]);
    opened = open();
    await opened.archive.step(NOW - 4 * DAY_MS);
    expect(movedRows()).toEqual([true, true, false, false, false]);
    opened = open(null);
    await opened.archive.step(NOW);
    expect(opened.archive.nextStepMs()).toBeNull();
    await expect(textsFrom(0)).rejects.toThrow("a bucket that is not bound any more");
    expect(await textsFrom(3)).toEqual(ALL.slice(3));
  });

  it("gathers a while what is old enough, and makes no object larger than some megabytes", async () => {
    const large = Array.from({ length: 12 }, (_, index) => [String.fromCharCode(97 + index).repeat(1_000_000)]);
    disk = { sql: openSql(), kv: new Map(), bucket: new MemoryBucket() };
    createTables(disk.sql);
    opened = open();
    write(...large, ["newest"]);
    expect(opened.archive.nextStepMs()).toBe(NOW - 5 * DAY_MS + DAY_MS + 60 * 60 * 1000);
    for (let step = 0; step < 5; step++) await opened.archive.step(NOW + step * 1_000);
    expect([...disk.bucket.objects.values()].every(({ length }) => length < 4.5 * 1024 * 1024)).toBe(true);
    expect(disk.bucket.objects.size).toBe(3);
    expect(await textsFrom(0, 1024 * 1024)).toEqual([...large.flat(), "newest"]);
  });

  it("brings back what is to be worked on, as it was, and moves it again later", async () => {
    const before = rows();
    await opened.archive.step(NOW);
    expect([opened.archive.isLocal({ from: 0, to: 1 }), opened.archive.isLocal({ from: 6, to: 7 })]).toEqual([false, true]);
    await opened.archive.bringBack([3, 6]);
    expect(rows()).toEqual(before);
    expect(opened.log.read(1)?.message.body).toEqual(new TextEncoder().encode("bé"));
    expect(states()).toEqual(["garbage"]);
    await opened.archive.step(NOW + 1_000);
    expect([disk.bucket.objects.size, movedRows()[0]]).toEqual([1, false]);
    await opened.archive.step(NOW + 61_000);
    expect([disk.bucket.objects.size, movedRows(), states()]).toEqual([1, [true, true, true, true, false], ["stored"]]);
    expect(await textsFrom(0)).toEqual(ALL);
  });

  it("is rid of an object once retention took all of its segments", async () => {
    await opened.archive.step(NOW);
    const trim = (sinceMs: number) => {
      opened.log.trim({ sinceMs, bytes: Number.POSITIVE_INFINITY, fromOffset: Number.POSITIVE_INFINITY });
      opened.archive.trimmed(opened.log.earliestOffset);
    };
    trim(NOW - 5 * DAY_MS + 2);
    await opened.archive.step(NOW + 1_000);
    expect(disk.bucket.objects.size).toBe(1);
    expect(await textsFrom(3)).toEqual(ALL.slice(3));
    expect(await opened.archive.content(0)).toBeNull();
    trim(NOW - DAY_MS);
    expect(opened.archive.nextStepMs()).toBeLessThan(NOW + 200_000);
    await opened.archive.step(NOW + 100_000);
    expect([disk.bucket.objects.size, states()]).toEqual([0, []]);
  });
});

describe("a process that ends, or a bucket that fails, at any moment", () => {
  /** Runs the work until the bucket is called for the nth time, where it never comes back; then starts anew from the disk. */
  async function killAt(call: "put" | "get" | "delete", when: "before" | "after", work: () => Promise<unknown>): Promise<void> {
    const reached = Promise.withResolvers<void>();
    disk.bucket.before = (asked) => {
      if (asked !== call) return undefined;
      reached.resolve();
      return when === "before" ? new Promise<void>(() => undefined) : undefined;
    };
    if (when === "after") {
      const original = disk.bucket[call].bind(disk.bucket) as (...args: unknown[]) => Promise<unknown>;
      Object.assign(disk.bucket, { [call]: async (...args: unknown[]) => (await original(...args), reached.resolve(), new Promise(() => undefined)) });
    }
    void work();
    await reached.promise;
    await vi.waitFor(() => undefined);
    const survivor = new MemoryBucket();
    for (const [key, value] of disk.bucket.objects) survivor.objects.set(key, value);
    disk = { ...disk, bucket: survivor };
    opened = open();
  }

  it.each([["put", "before"], ["put", "after"]] as const)("loses nothing and leaves nothing behind: upload, %s %s", async (call, when) => {
    await killAt(call, when, () => opened.archive.step(NOW));
    expect(await textsFrom(0)).toEqual(ALL);
    expect(movedRows()).not.toContain(true);
    await opened.archive.step(NOW + 1_000);
    expect([disk.bucket.objects.size, states()]).toEqual([1, ["stored"]]);
    expect(await textsFrom(0)).toEqual(ALL);
  });

  it.each([["delete", "before"], ["delete", "after"]] as const)("loses nothing and leaves nothing behind: clearing away, %s %s", async (call, when) => {
    await opened.archive.step(NOW);
    await opened.archive.bringBack([0]);
    await killAt(call, when, () => opened.archive.expunged());
    expect(await textsFrom(0)).toEqual(ALL);
    await opened.archive.step(NOW + 1_000);
    expect(await textsFrom(0)).toEqual(ALL);
    expect([disk.bucket.objects.size, states()]).toEqual([1, ["stored"]]);
  });

  it("tries again a minute later where the bucket refuses, and all stays where it was", async () => {
    disk.bucket.before = () => {
      throw new Error("the bucket is away");
    };
    await opened.archive.step(NOW);
    expect(await textsFrom(0)).toEqual(ALL);
    expect(opened.archive.nextStepMs()).toBe(NOW + 60_000);
    disk.bucket.before = () => undefined;
    await opened.archive.step(NOW + 60_000);
    expect(movedRows()[0]).toBe(true);
    disk.bucket.before = () => {
      throw new Error("the bucket is away");
    };
    await expect(textsFrom(0)).rejects.toThrow("away");
    await expect(opened.archive.bringBack([0])).rejects.toThrow("away");
    disk.bucket.objects.clear();
    disk.bucket.before = () => undefined;
    await expect(textsFrom(0)).rejects.toThrow("missing in its bucket");
  });
});

describe("what happens while segments are on their way", () => {
  /** Does something once the bucket has taken the object, before the log knows. */
  function meanwhile(work: () => void): void {
    disk.bucket.before = (call) => {
      if (call !== "put") return;
      disk.bucket.before = () => undefined;
      work();
    };
  }

  it("an expunged message is in no copy", async () => {
    let expunging: Promise<void> | undefined;
    meanwhile(() => {
      opened.log.expunge(1);
      expunging = opened.archive.expunged();
    });
    await opened.archive.step(NOW);
    await expunging;
    expect([disk.bucket.objects.size, movedRows()[0]]).toEqual([0, false]);
    await opened.archive.step(NOW + 1_000);
    expect([...disk.bucket.objects.values()].map((bytes) => new TextDecoder().decode(bytes).includes("bé"))).toEqual([false]);
    expect(await opened.archive.content(1)).toEqual({ ok: false, code: "expunged" });
  });

  it("a message opened to be delivered again stays", async () => {
    meanwhile(() => {
      opened.workedOffBefore = 2;
    });
    await opened.archive.step(NOW);
    expect(movedRows()).not.toContain(true);
    expect(states()).toEqual(["garbage"]);
  });

  it("whoever wants a message waits for the move to end, and has it then", async () => {
    let wanted: Promise<void> | undefined;
    meanwhile(() => {
      wanted = opened.archive.bringBack([2]);
    });
    await opened.archive.step(NOW);
    await wanted;
    expect(opened.log.read(2)?.message.body).toEqual(new TextEncoder().encode("c"));
  });

  it("a reader whose segments are brought back or trimmed meanwhile reads on", async () => {
    await opened.archive.step(NOW);
    disk.bucket.before = async (call) => {
      if (call !== "get") return;
      disk.bucket.before = () => undefined;
      await opened.archive.bringBack([0]);
      await opened.archive.expunged();
    };
    expect(await textsFrom(0)).toEqual(ALL);
    await opened.archive.step(NOW + 61_000);
    disk.bucket.before = async (call) => {
      if (call !== "get") return;
      disk.bucket.before = () => undefined;
      opened.log.trim({ sinceMs: NOW - DAY_MS, bytes: Number.POSITIVE_INFINITY, fromOffset: Number.POSITIVE_INFINITY });
      opened.archive.trimmed(opened.log.earliestOffset);
      await opened.archive.expunged();
    };
    expect(await opened.reader.read({ from: 0, maxBytes: 1, waitMs: 0 })).toEqual({ ok: false, code: "trimmed", earliest: 6 });
  });
});
