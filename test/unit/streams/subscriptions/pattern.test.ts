import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { literalPrefix, matchesPath, parseStreamPattern, type StreamPattern } from "../../../../src/streams/subscriptions/pattern.ts";

function pattern(text: string): StreamPattern {
  const parsed = parseStreamPattern(text);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.pattern;
}

const covers = (text: string, path: string) => matchesPath(pattern(text), path);

describe("a pattern of streams", () => {
  it.each([
    ["events/*", "events/a", true], ["events/*", "events", false], ["events/*", "events/a/b", false],
    ["events/**", "events", true], ["events/**", "events/a", true], ["events/**", "events/a/b", true], ["events/**", "event", false],
    ["**", "a", true], ["**", "a/b/c", true], ["*", "a", true], ["*", "a/b", false],
    ["**/done", "done", true], ["**/done", "a/b/done", true], ["**/done", "a/done/b", false],
    ["a/*/c", "a/b/c", true], ["a/*/c", "a/c", false], ["a/**/c", "a/c", true], ["a/**/c", "a/b/b/c", true], ["a/**/c", "a/b/b", false],
    ["a/**/b/**/c", "a/b/c", true], ["a/**/b/**/c", "a/x/b/y/z/c", true], ["a/**/b/**/c", "a/c/b", false],
    ["**/**", "a", true], ["exact/path", "exact/path", true], ["exact/path", "exact/path/more", false],
  ])("%s, asked about %s: %s", (text, path, expected) => {
    expect(covers(text, path)).toBe(expected);
  });

  it("has one spelling, and covers the one spelling of paths", () => {
    expect(pattern("caf%C3%A9/%61/*").text).toBe("caf%C3%A9/a/*");
    expect(pattern("café/a b/*").text).toBe("caf%C3%A9/a%20b/*");
    expect(covers("café/*", "caf%C3%A9/x")).toBe(true);
  });

  it.each([
    "", "/", "a//b", "a/", "/a", "a/..", "a/%2f", "a/%zz", "a/\u0000", "a/b*", "a/*b", "a/***", "__ds/*", "topics/*", "queues/**", "nodes/x",
    Array(17).fill("a").join("/"), "x".repeat(513),
  ])("is refused as %j", (text) => {
    expect(parseStreamPattern(text).ok).toBe(false);
  });

  it("covers what an expression made of it matches, and nothing that does not begin with its prefix", () => {
    const segment = fc.constantFrom("a", "b", "*", "**");
    const part = fc.constantFrom("a", "b", "c");
    fc.assert(
      fc.property(fc.array(segment, { minLength: 1, maxLength: 5 }), fc.array(part, { minLength: 1, maxLength: 6 }), (segments, parts) => {
        const text = segments.join("/");
        const path = parts.join("/");
        const expression = segments.map((one) => (one === "**" ? "(?:/[^/]+)*" : one === "*" ? "/[^/]+" : `/${one}`)).join("");
        const expected = new RegExp(`^${expression}$`).test(`/${path}`);
        expect([text, path, covers(text, path)]).toEqual([text, path, expected]);
        if (expected) expect(path.startsWith(literalPrefix(pattern(text)))).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });
});
