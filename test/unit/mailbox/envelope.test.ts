import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { encodeEnvelope, parseEnvelope } from "../../../src/mailbox/envelope.ts";
import { batchesOf, entriesOf } from "../../../src/mailbox/sqs-send.ts";
import { bytes, newMessage } from "./mailbox-suite.ts";

/** What SQS accepts in a message. */
const SQS_TEXT = /^[\t\n\r\u0020-\ud7ff\ue000-\ufffd]*$/;

describe("the envelope", () => {
  it("brings back any message, in characters that SQS accepts", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.string({ unit: "binary" }), (body, text) => {
        for (const content of [body, bytes(text)]) {
          const message = newMessage(3, { body: content, attributes: { text: text.toWellFormed() }, event: { subject: text.toWellFormed() } });
          const encoded = encodeEnvelope(message);
          expect(encoded.text).toMatch(SQS_TEXT);
          expect(encoded.bytes).toBe(bytes(encoded.text).length);
          const { groupKey: _groupKey, ...expected } = message;
          expect(parseEnvelope(encoded.text)).toEqual({ ...expected, body: Uint8Array.from(content) });
        }
      }),
    );
  });

  it("holds content up to 256 KiB of envelope, and references what is larger", () => {
    const room = 256 * 1024 - encodeEnvelope(newMessage(0, { body: new Uint8Array(0) })).bytes;
    const full = encodeEnvelope(newMessage(0, { body: bytes("a".repeat(room)) }));
    expect(full.bytes).toBe(256 * 1024);
    expect(parseEnvelope(full.text)?.body).toHaveLength(room);
    const over = encodeEnvelope(newMessage(0, { body: bytes("a".repeat(room + 1)) }));
    expect(over.bytes).toBeLessThan(1_000);
    expect(parseEnvelope(over.text)).toMatchObject({ body: null, stream: "default/topics/orders.completed", offset: 0 });
  });

  it.each([
    ["nothing", ""],
    ["no JSON", "hello"],
    ["no object", "[]"],
    ["another object", "{}"],
    ["a bad time", JSON.stringify({ ...JSON.parse(encodeEnvelope(newMessage(0)).text), time: "yesterday" })],
    ["a bad offset", JSON.stringify({ ...JSON.parse(encodeEnvelope(newMessage(0)).text), offset: -1 })],
    ["no content", JSON.stringify({ ...JSON.parse(encodeEnvelope(newMessage(0)).text), data: undefined })],
    ["bad base 64", JSON.stringify({ ...JSON.parse(encodeEnvelope(newMessage(0)).text), data: undefined, dataBase64: "=a" })],
  ])("is not found in %s", (_what, text) => {
    expect(parseEnvelope(text)).toBeNull();
  });
});

describe("calls to send", () => {
  it("take 10 messages and 1 MiB each, in order", async () => {
    const sizes = [...Array.from({ length: 12 }, () => 10), 200_000, 200_000, 200_000, 200_000, 200_000, 200_000];
    const entries = await entriesOf(sizes.map((size, offset) => newMessage(offset, { body: bytes("a".repeat(size)) })), false);
    const batches = batchesOf(entries);
    expect(batches.map((batch) => batch.map(({ entry }) => Number(entry.Id)))).toEqual([
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
      [10, 11, 12, 13, 14, 15, 16],
      [17],
    ]);
    expect(batchesOf([])).toEqual([]);
  });
});
