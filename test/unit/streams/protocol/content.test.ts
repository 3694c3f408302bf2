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
