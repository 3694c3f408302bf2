import { DatabaseSync, type SQLInputValue } from "node:sqlite";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ChunkLog } from "../../../../src/streams/protocol/chunk-log.ts";
import { type Payload, parseJsonPayload } from "../../../../src/streams/protocol/content.ts";

/** The object's SQLite, as far as the log uses it. */
function openSql(): SqlStorage {
  const sqlite = new DatabaseSync(":memory:");
  sqlite.exec("CREATE TABLE chunks (position INTEGER PRIMARY KEY, units INTEGER NOT NULL, bytes BLOB NOT NULL, lengths BLOB) STRICT");
  const bound = (value: any): SQLInputValue => (value instanceof ArrayBuffer ? new Uint8Array(value) : value);
  const exec = (sql: string, ...values: any[]) => {
    const numbered = /\?\d/.test(sql);
    const given: any[] = numbered ? [Object.fromEntries(values.map((value, index) => [`?${index + 1}`, bound(value)]))] : values.map(bound);
    const rows = sqlite.prepare(sql).all(...given).map((row) =>
      Object.fromEntries(Object.entries(row).map(([name, value]) => [name, value instanceof Uint8Array ? value.slice().buffer : value])),
    );
    return Object.assign(rows, { toArray: () => rows, rowsWritten: Number(sqlite.prepare("SELECT changes() AS n").get()?.["n"]) });
  };
  return { exec } as unknown as SqlStorage;
}

const BASE = 1_000;
const MIB = 1024 * 1024;

/** Reads everything in bounded stretches, each no larger than it may be. */
function readAll(log: ChunkLog, from: number, to: number, maxBytes: number, join: string): string {
  const parts: string[] = [];
  for (let at = from; at < to; ) {
    const { next, bytes } = log.read(at, to, maxBytes);
    expect(next).toBeGreaterThan(at);
    parts.push(Buffer.from(bytes).toString("latin1"));
    at = next;
  }
  return parts.join(join);
}

function jsonPayload(messages: readonly unknown[]): Payload {
  const parsed = parseJsonPayload(new TextEncoder().encode(JSON.stringify(messages)));
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.payload;
}

describe("the data of a stream", () => {
  it("of bytes reads back from any position in pieces of any size", () => {
    const commits = fc.array(fc.array(fc.uint8Array({ minLength: 1, maxLength: 40 }), { minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(commits, fc.nat(), fc.integer({ min: 1, max: 60 }), (groups, start, maxBytes) => {
        const log = new ChunkLog(openSql());
        let end = BASE;
        for (const group of groups) {
          log.append(end, group.map((bytes) => ({ bytes, lengths: null })));
          end += group.reduce((sum, { length }) => sum + length, 0);
        }
        const whole = Buffer.concat(groups.flat()).toString("latin1");
        expect(log.end(BASE)).toBe(end);
        const from = BASE + (start % whole.length);
        expect(readAll(log, from, end, maxBytes, "")).toBe(whole.slice(from - BASE));
        expect(log.read(end, end, maxBytes)).toEqual({ from: end, next: end, bytes: new Uint8Array() });
      }),
      { numRuns: 60 },
    );
  });

  it("of messages reads back from any of them, never cut, one at least", () => {
    const commits = fc.array(fc.array(fc.array(fc.jsonValue(), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(commits, fc.nat(), fc.integer({ min: 1, max: 80 }), (groups, start, maxBytes) => {
        const log = new ChunkLog(openSql());
        let end = BASE;
        for (const group of groups) {
          log.append(end, group.map(jsonPayload));
          end += group.flat().length;
        }
        const messages = groups.flat(2);
        const from = BASE + (start % messages.length);
        const text = Buffer.from(readAll(log, from, end, maxBytes, ","), "latin1").toString();
        expect(JSON.parse(`[${text}]`)).toEqual(JSON.parse(JSON.stringify(messages.slice(from - BASE))));
      }),
      { numRuns: 60 },
    );
  });

  it("lies in rows of a mebibyte, or of one message that is larger", () => {
    const sql = openSql();
    const log = new ChunkLog(sql);
    const sizes = () => sql.exec<{ size: number }>("SELECT length(bytes) AS size FROM chunks ORDER BY position").toArray().map(({ size }) => size);
    log.append(0, [{ bytes: new Uint8Array(2.5 * MIB), lengths: null }, { bytes: new Uint8Array(MIB / 2), lengths: null }]);
    expect(sizes()).toEqual([MIB, MIB, MIB]);
    log.append(3 * MIB, [jsonPayload(["x".repeat(1_700_000), "y", "z"])]);
    expect(sizes().slice(3)).toEqual([1_700_002, 7]);
  });

  it("is removed up to a position, some rows at a time", () => {
    const log = new ChunkLog(openSql());
    for (let at = 0; at < 10; at++) log.append(at, [{ bytes: Uint8Array.of(at), lengths: null }]);
    expect([log.dropBefore(8, 5), log.dropBefore(8, 5), log.dropBefore(8, 5)]).toEqual([true, false, false]);
    expect(log.read(8, 10, 100)).toEqual({ from: 8, next: 10, bytes: Uint8Array.of(8, 9) });
  });
});
