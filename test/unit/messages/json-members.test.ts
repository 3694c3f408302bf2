import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkJson, findDuplicateKey, MAX_JSON_DEPTH, scanElements, scanMembers } from "../../../src/messages/json-members.ts";

function members(text: string): [string, string][] {
  const scanned = scanMembers(text);
  if (!scanned.ok) throw new Error(`${scanned.position}: ${scanned.detail}`);
  return scanned.members.map(({ key, start, end }) => [key, text.slice(start, end)]);
}

function parses(text: string): boolean {
  try {
    JSON.parse(text);
    return true;
  } catch {
    return false;
  }
}

const nested = (depth: number): string => `${"[".repeat(depth)}${"]".repeat(depth)}`;

const BROKEN = [
  "", " ", "{", "{}}", "{} x", "{,}", '{"a"}', '{"a":}', '{"a":1,}', '{a:1}', "{'a':1}", '{"a":1 "b":2}', '{"a" 1}',
  '{"a":01}', '{"a":-}', '{"a":.5}', '{"a":1.}', '{"a":1e}', '{"a":+1}', '{"a":0x1}', '{"a":NaN}', '{"a":Infinity}',
  '{"a":tru}', '{"a":True}', '{"a":undefined}', '{"a":"\\x"}', '{"a":"\\u12"}', '{"a":"\\u12G4"}', '{"a":"', '{"a":"\\',
  '{"a":"\n"}', '{"a":"\u0000"}', '{"a\tb":1}', '{"a":[1,]}', '{"a":[}', '{"a":[1}', '{"a":{]}', '{"a":1]', "\ufeff{}",
  "{}\u00a0", "\u2028{}", "{}\u0000", '{"a":1//c\n}', '{"a":1,,"b":2}', '{"a":[1 2]}',
];

describe("scanMembers", () => {
  it("gives each value as it is written, without the space around it", () => {
    expect(members(' \n{ "a" :\t1.0e+2 , "b":[1, {"c" : 2 } ], "":"x", "d":{} }\r\n')).toEqual([
      ["a", "1.0e+2"],
      ["b", '[1, {"c" : 2 } ]'],
      ["", '"x"'],
      ["d", "{}"],
    ]);
  });

  it("keeps numbers that a parser would round, and what a parser would lose", () => {
    const text = '{"n":12345678901234567890.10,"z":-0,"e":1E400,"o":{"k":1,"k":2}}';
    expect(members(text).map(([, value]) => value)).toEqual(["12345678901234567890.10", "-0", "1E400", '{"k":1,"k":2}']);
  });

  it("decodes keys, and finds the same key in different spellings", () => {
    const scanned = scanMembers('{"a\\u0062":1,"ab":2,"\\"\\\\\\/\\b\\f\\n\\r\\t":3,"\\ud83d\\ude00":4,"x":{"ab":1,"ab":2}}');
    expect(scanned).toMatchObject({ ok: true, duplicateKeys: ["ab"] });
    expect(scanned.ok && scanned.members.map(({ key }) => key)).toEqual(["ab", "ab", '"\\/\b\f\n\r\t', "\u{1f600}", "x"]);
  });

  it.each(["[]", "1", '"{}"', "null"])("refuses %s, which is no object", (text) => {
    expect(scanMembers(text)).toMatchObject({ ok: false, position: 0 });
  });

  it.each(BROKEN)("refuses %j, as JSON.parse does", (text) => {
    expect(parses(text)).toBe(false);
    const scanned = scanMembers(text);
    expect(scanned.ok).toBe(false);
    expect(scanned.ok ? "" : scanned.detail).not.toBe("");
    expect(checkJson(text).ok).toBe(false);
    expect(findDuplicateKey(text).ok).toBe(false);
  });

  it("says where the text stops being JSON", () => {
    expect(scanMembers('{"a":1,"b":tru}')).toMatchObject({ ok: false, position: 11 });
    expect(scanMembers('{"a":"x')).toMatchObject({ ok: false, detail: "the text ends too early" });
  });

  it("finds the members that JSON.parse finds, in any JSON object and any layout", () => {
    const values = fc.dictionary(fc.string({ unit: "binary" }), fc.jsonValue());
    fc.assert(
      fc.property(values, fc.constantFrom(undefined, 1, "\t"), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        const rebuilt = new Map(members(text).map(([key, literal]) => [key, JSON.parse(literal) as unknown]));
        expect([...rebuilt]).toEqual(Object.entries(JSON.parse(text) as object));
      }),
      { numRuns: 500 },
    );
  });

  it("agrees with JSON.parse on every damaged text", () => {
    const damage = fc.tuple(fc.jsonValue(), fc.nat(), fc.constantFrom("", "{", "}", "[", "]", ",", ":", '"', "\\", "0", "-", "e", " ", "\u0007"));
    fc.assert(
      fc.property(damage, ([value, at, character]) => {
        const text = JSON.stringify({ value });
        const damaged = text.slice(0, at % text.length) + character + text.slice((at % text.length) + 1);
        expect(checkJson(damaged).ok).toBe(parses(damaged));
        expect(scanMembers(damaged).ok).toBe(parses(damaged));
      }),
      { numRuns: 3000 },
    );
  });
});

describe("limits", () => {
  it(`accepts ${MAX_JSON_DEPTH} levels and refuses one more`, () => {
    expect(checkJson(nested(MAX_JSON_DEPTH)).ok).toBe(true);
    expect(checkJson(nested(MAX_JSON_DEPTH + 1)).ok).toBe(false);
    expect(scanMembers(`{"a":${nested(MAX_JSON_DEPTH - 1)}}`).ok).toBe(true);
    expect(scanMembers(`{"a":${nested(MAX_JSON_DEPTH)}}`).ok).toBe(false);
    expect(scanElements(nested(MAX_JSON_DEPTH)).ok).toBe(true);
    expect(scanElements(nested(MAX_JSON_DEPTH + 1)).ok).toBe(false);
  });

  it("refuses a million brackets without exhausting the stack", () => {
    expect(checkJson("[".repeat(1_000_000)).ok).toBe(false);
    expect(scanMembers('{"a":'.repeat(1_000_000)).ok).toBe(false);
    expect(findDuplicateKey("[".repeat(1_000_000)).ok).toBe(false);
  });
});

describe("scanElements", () => {
  it("gives each element as it is written", () => {
    const text = ' [ 1 , {"a":[2]}, "]" ] ';
    const scanned = scanElements(text);
    expect(scanned.ok && scanned.elements.map(({ start, end }) => text.slice(start, end))).toEqual(["1", '{"a":[2]}', '"]"']);
    expect(scanElements("[ ]")).toEqual({ ok: true, elements: [] });
  });

  it.each(["", "{}", "[", "[1,]", "[1]]", "[,1]", "[1 2]"])("refuses %j", (text) => {
    expect(scanElements(text).ok).toBe(false);
  });
});

describe("findDuplicateKey", () => {
  it.each([
    ['{"a":1,"b":{"a":2}}', null],
    ['[{"a":1},{"a":2}]', null],
    ['{"a":1,"a":1}', "a"],
    ['{"x":[0,{"y":{"k":1,"\\u006b":2}}]}', "k"],
    ['{"__proto__":1,"__proto__":2}', "__proto__"],
    ['{"toString":1}', null],
    ["1", null],
  ])("in %s finds %j", (text, key) => {
    expect(findDuplicateKey(text)).toEqual({ ok: true, key });
  });
});
