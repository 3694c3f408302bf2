import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  attributeHeaders,
  attributesFromHeaders,
  MAX_ATTRIBUTES,
  MAX_ATTRIBUTES_BYTES,
  parseAttributes,
} from "../../../src/messages/attributes.ts";

const pointerOf = (name: string): string => `/attributes/${name}`;

describe("attributesFromHeaders", () => {
  it("takes the attribute headers, and no others", () => {
    const headers = new Headers({
      "Postern-Attribute-Color": "red",
      "postern-attribute-a.b_c-9": '["x", 1]',
      "postern-attribute-empty": "",
      "postern-attribut": "no",
      "x-postern-attribute-no": "no",
      "content-type": "text/plain",
    });
    expect(attributesFromHeaders(headers)).toEqual({
      ok: true,
      attributes: { color: "red", "a.b_c-9": '["x", 1]', empty: "" },
    });
  });

  it("keeps values as they were sent, percent signs included", () => {
    const parsed = attributesFromHeaders(new Headers({ "postern-attribute-share": "50% a%20b" }));
    expect(parsed).toEqual({ ok: true, attributes: { share: "50% a%20b" } });
  });

  it.each([
    ["postern-attribute-", "x"],
    ["postern-attribute-a!b", "x"],
    [`postern-attribute-${"n".repeat(129)}`, "x"],
    ["postern-attribute-a", "x\ty"],
    ["postern-attribute-a", "x\u007f"],
    ["postern-attribute-a", "x\u0001"],
  ])("refuses %s: %j, and names the header", (header, value) => {
    const parsed = attributesFromHeaders(new Headers({ [header]: value }));
    expect(parsed).toMatchObject({ ok: false, errors: [{ pointer: `header:${header}` }] });
  });
});

describe("parseAttributes", () => {
  it("lower-cases names, and refuses two that differ in case only", () => {
    expect(parseAttributes([["Color", "red"]], pointerOf)).toEqual({ ok: true, attributes: { color: "red" } });
    expect(parseAttributes([["Color", "red"], ["color", "blue"]], pointerOf)).toMatchObject({
      ok: false,
      errors: [{ pointer: "/attributes/color" }],
    });
  });

  it("treats __proto__ as any other name", () => {
    const parsed = parseAttributes([["__proto__", "x"]], pointerOf);
    expect(parsed.ok && Object.entries(parsed.attributes)).toEqual([["__proto__", "x"]]);
  });

  it(`accepts ${MAX_ATTRIBUTES} attributes and refuses one more`, () => {
    const many = Array.from({ length: MAX_ATTRIBUTES + 1 }, (_, index): [string, string] => [`n${index}`, ""]);
    expect(parseAttributes(many.slice(1), pointerOf).ok).toBe(true);
    expect(parseAttributes(many, pointerOf)).toMatchObject({ ok: false, errors: [{ pointer: "/attributes/" }] });
  });

  it(`accepts ${MAX_ATTRIBUTES_BYTES} bytes of UTF-8 and refuses one more`, () => {
    const fits = `${"é".repeat(MAX_ATTRIBUTES_BYTES / 2 - 1)}x`;
    expect(parseAttributes([["n", fits]], pointerOf).ok).toBe(true);
    expect(parseAttributes([["n", `${fits}x`]], pointerOf).ok).toBe(false);
    expect(parseAttributes([["nn", fits]], pointerOf).ok).toBe(false);
  });

  it("names every fault, not only the first", () => {
    const parsed = parseAttributes([["a b", "x"], ["ok", "x"], ["c", "\u0000"]], pointerOf);
    expect(parsed).toMatchObject({ ok: false, errors: [{ pointer: "/attributes/a b" }, { pointer: "/attributes/c" }] });
  });
});

describe("attributeHeaders", () => {
  it.each([
    ["red", "red"],
    ["", ""],
    ["a b%20c \"d\"", "a b%20c \"d\""],
    ["café", "caf%C3%A9"],
    ["50 % café", "50%20%25%20caf%C3%A9"],
    ["\u{1f600}", "%F0%9F%98%80"],
    [" padded ", "%20padded%20"],
    [" ", "%20"],
  ])("sends %j as %j", (value, sent) => {
    expect(attributeHeaders({ name: value })).toEqual({ "postern-attribute-name": sent });
  });

  it("arrives as it was stored, or percent-encoded, whatever the value", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), (value) => {
        const sent = attributeHeaders({ name: value })["postern-attribute-name"] ?? "";
        const received = new Headers({ name: sent }).get("name");
        expect(received).toBe(sent);
        expect([sent, decodeURIComponent(sent === value ? "" : sent)]).toContain(value);
      }),
      { numRuns: 500 },
    );
  });
});
