import { describe, expect, it } from "vitest";
import { nextCursor } from "../../../../src/streams/protocol/cursor.ts";
import { formatOffset, parseLogOffset, parseOffset } from "../../../../src/streams/protocol/offset.ts";
import { parseStreamPath } from "../../../../src/streams/protocol/path.ts";

describe("an offset", () => {
  it("is the position in a fixed width, so that offsets sort as text", () => {
    const positions = [0, 1, 9, 10, 99, 1_000_000, Number.MAX_SAFE_INTEGER];
    const offsets = positions.map(formatOffset);
    expect(offsets[3]).toBe("0000000000000000_0000000000000010");
    expect([...offsets].sort()).toEqual(offsets);
    expect(offsets.map(parseOffset)).toEqual(positions);
  });

  it("is a sentinel or one of ours, nothing else", () => {
    expect([parseOffset("-1"), parseOffset("now")]).toEqual(["start", "now"]);
    const foreign = ["", "0", "NOW", "-2", "1_2", "0000000000000001_0000000000000000", `${formatOffset(1)} `, `${formatOffset(1)}\n`, "٠".repeat(16)];
    for (const text of foreign) expect([text, parseOffset(text)]).toEqual([text, null]);
  });

  it("of a log may be the plain number that publishing returned", () => {
    expect(["0", "42", "-1", formatOffset(7)].map(parseLogOffset)).toEqual([0, 42, "start", 7]);
    for (const text of ["01", "1.0", "+1", "1e3", "", "9".repeat(17)]) expect([text, parseLogOffset(text)]).toEqual([text, null]);
  });
});

describe("a path", () => {
  it("names a stream of one's own, however it is spelled", () => {
    expect(parseStreamPath("a/b-c_d.e~f")).toEqual({ kind: "own", path: "a/b-c_d.e~f" });
    expect(parseStreamPath("caf%C3%A9/%41")).toEqual({ kind: "own", path: "caf%C3%A9/A" });
    expect(parseStreamPath("a%20b")).toEqual({ kind: "own", path: "a%20b" });
    expect(parseStreamPath("topics.of/mine")).toEqual({ kind: "own", path: "topics.of/mine" });
  });

  it("names the log of a topic, queue or node", () => {
    expect(parseStreamPath("topics/orders.completed")).toEqual({ kind: "log", log: "topics", name: "orders.completed" });
    expect(parseStreamPath("queues/a")).toEqual({ kind: "log", log: "queues", name: "a" });
    expect(parseStreamPath("nodes/%74ill")).toEqual({ kind: "log", log: "nodes", name: "till" });
  });

  it.each([
    "", "/", "a/", "/a", "a//b", ".", "a/..", "%2e%2e", "a%2Fb", "a%00", "a%0Ab", "%", "%ff", "%ED%A0%80", "topics", "topics/", "topics/a/b",
    "topics/a b", "queues/a..b", "%74opics/a/b", "__ds", "__ds/jwks.json", "x".repeat(513), Array(17).fill("a").join("/"),
  ])("is not %j", (raw) => {
    expect(parseStreamPath(raw)).toBeNull();
  });
});

describe("a cursor", () => {
  const nowMs = Date.UTC(2024, 9, 9) + 100 * 20_000 + 7;

  it("counts intervals of 20 s, and is always beyond the one that was sent", () => {
    expect(nextCursor(undefined, nowMs, 0.5)).toBe("100");
    expect(nextCursor("99", nowMs, 0.5)).toBe("100");
    expect(nextCursor("100", nowMs, 0)).toBe("101");
    expect(Number(nextCursor("5000", nowMs, 0.999))).toBeGreaterThan(5_000);
    for (const broken of ["", "-1", "abc", "1e9", "9".repeat(20)]) expect(nextCursor(broken, nowMs, 0.5)).toBe("100");
  });
});
