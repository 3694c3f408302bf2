import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { isText, parseJsonPayload } from "../../../../src/streams/protocol/content.ts";
import { controlEvent, dataEvent, wholeCharacters } from "../../../../src/streams/protocol/sse.ts";

const encode = (text: string) => new TextEncoder().encode(text);

/** The messages of a JSON body, cut by the lengths that were stored for them. */
function messagesOf(text: string): string[] | string {
  const parsed = parseJsonPayload(encode(text));
  if (!parsed.ok) return "refused";
  let at = 0;
  return [...(parsed.payload.lengths ?? [])].map((length) => {
    const message = new TextDecoder().decode(parsed.payload.bytes.subarray(at, at + length));
    at += length + 1;
    return message;
  });
}

/** JSON with a character of it taken out, put in or doubled. */
function mutated(): fc.Arbitrary<string> {
  return fc.tuple(fc.json(), fc.nat(), fc.constantFrom("", "x", '"', ",", "}", "]", "\\", "0")).map(([text, at, put]) => {
    const position = at % (text.length + 1);
    return text.slice(0, position) + put + text.slice(position + (at % 2));
  });
}

describe("a JSON body", () => {
  it("is one message, or the elements of an array, one level of it, as they were spelled", () => {
    expect(messagesOf(' {"a": 1} ')).toEqual(['{"a": 1}']);
    expect(messagesOf('[1,"é€😀",{"b":[2]}]')).toEqual(["1", '"é€😀"', '{"b":[2]}']);
    expect(messagesOf("[ [1,2], [3] ]")).toEqual(["[1,2]", "[3]"]);
    expect(messagesOf("[[[1]]]")).toEqual(["[[1]]"]);
    expect(messagesOf("12345678901234567890")).toEqual(["12345678901234567890"]);
    expect(messagesOf("[]")).toEqual([]);
  });

  it.each(["", "[1,]", "{", "[1][2]", "tru", '"\n"', "[1", "'a'"])("is not %j", (text) => {
    expect(messagesOf(text)).toBe("refused");
  });

  it("is cut as a reader of JSON would cut it, whatever is in it and around it", () => {
    const space = fc.stringMatching(/^[ \t\r\n]{0,3}$/);
    fc.assert(
      fc.property(fc.array(fc.tuple(space, fc.jsonValue({ depthSize: "medium" }), space), { maxLength: 8 }), space, (items, around) => {
        const values = items.map(([, value]) => value);
        const spelled = values.map((value, index) => JSON.stringify(value, null, index % 3));
        const text = `${around}[${items.map(([before, , after], index) => before + spelled[index] + after).join(",")}]${around}`;
        expect(messagesOf(text)).toEqual(spelled);
        const parsed = parseJsonPayload(encode(text));
        if (parsed.ok) expect(new TextDecoder().decode(parsed.payload.bytes)).toBe(spelled.join(","));
      }),
      { numRuns: 500 },
    );
    expect(messagesOf('["\\\\","\\"","a\\\\\\"]",[",]\\""]]')).toEqual(['"\\\\"', '"\\""', '"a\\\\\\"]"', '[",]\\""]']);
    expect(messagesOf("\ufeff[1, 2]")).toEqual(["1", "2"]);
    expect(messagesOf("\ufeff{} ")).toEqual(["{}"]);
  });

  it("is JSON exactly where the engine says so", () => {
    const parses = (text: string): boolean => {
      try {
        JSON.parse(text);
        return true;
      } catch {
        return false;
      }
    };
    const pieces = fc.constantFrom(...'[]{},:"\\ \n\t-+.0123eEtrufalsn/'.split(""), "true", "null", "\\u00e9", "\\ud83d", '"a":', '"é"', "1e5", "-0", "00", "1.", ".5", "\u0001", "\u007f");
    fc.assert(
      fc.property(fc.oneof(fc.array(pieces, { maxLength: 12 }).map((all) => all.join("")), mutated()), (text) => {
        expect([text, messagesOf(text) !== "refused"]).toEqual([text, parses(text)]);
      }),
      { numRuns: 20_000 },
    );
  });

  it("is nested 512 levels deep at most, and says where it is not JSON", () => {
    const nested = (depth: number) => "[".repeat(depth) + "]".repeat(depth);
    expect(messagesOf(nested(512))).toEqual([nested(511)]);
    expect(messagesOf(`{"a":${nested(511)}}`)).toHaveLength(1);
    for (const text of [nested(513), `{"a":${nested(512)}}`, nested(100_000)]) {
      expect(parseJsonPayload(encode(text))).toEqual({ ok: false, detail: expect.stringContaining("nested deeper than 512 levels") });
    }
    expect(parseJsonPayload(encode('[1, {"a" 2}]'))).toEqual({ ok: false, detail: "The body is not valid JSON: `:` is expected here, at character 10." });
  });

  it("is valid UTF-8, and holds no message that a row has no room for", () => {
    expect(parseJsonPayload(Uint8Array.from([0x22, 0xc3, 0x22])).ok).toBe(false);
    expect(parseJsonPayload(encode(JSON.stringify("x".repeat(1_800_000)))).ok).toBe(false);
    expect(parseJsonPayload(encode(JSON.stringify(["x".repeat(1_700_000), "y".repeat(1_700_000)]))).ok).toBe(true);
  });
});

/** What a browser makes of events: HTML, "Interpreting an event stream". */
function dispatched(text: string): { event: string; data: string }[] {
  return text.split(/(?:\r\n|\r|\n){2}/).filter((block) => block !== "").map((block) => {
    const lines = block.split(/\r\n|\r|\n/);
    const field = (name: string) => lines.filter((line) => line.startsWith(`${name}:`)).map((line) => line.slice(name.length + 1).replace(/^ /, ""));
    return { event: field("event").join(), data: field("data").join("\n") };
  });
}

describe("server-sent events", () => {
  it.each(["plain", " one space", "  two", "a\n b\r\n\r\nevent: control\rdata: {}\n\n", "\n", "data:x", ":", "\ufeffmark"])(
    "carry %j as the data of one event",
    (payload) => {
      expect(dispatched(dataEvent(encode(payload), true))).toEqual([{ event: "data", data: payload.replaceAll(/\r\n|\r/g, "\n") }]);
    },
  );

  it("carry bytes in base 64, and a control as JSON", () => {
    expect(dataEvent(Uint8Array.from([0, 10, 13, 255]), false)).toBe("event: data\ndata:AAoN/w==\n\n");
    expect(controlEvent({ streamNextOffset: "1", upToDate: true })).toBe('event: control\ndata:{"streamNextOffset":"1","upToDate":true}\n\n');
    expect(["text/csv", "application/json;a=b", "image/png", "application/x-ndjson"].map(isText)).toEqual([true, true, false, false]);
  });

  it("end with a whole character: the start of one waits for its rest", () => {
    for (const character of ["a", "é", "€", "😀"]) {
      const bytes = encode(`x${character}`);
      expect(wholeCharacters(bytes)).toBe(bytes.length);
      for (let cut = 2; cut < bytes.length; cut++) expect([character, cut, wholeCharacters(bytes.subarray(0, cut))]).toEqual([character, cut, 1]);
    }
    // what is no UTF-8 is not waited for
    for (const bytes of [[0xff], [0x80], [0x80, 0x80, 0x80, 0x80], [0x61, 0xf8]]) expect(wholeCharacters(Uint8Array.from(bytes))).toBe(bytes.length);
    expect(wholeCharacters(new Uint8Array())).toBe(0);
  });
});
