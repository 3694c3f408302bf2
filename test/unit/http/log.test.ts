import { expect, it } from "vitest";
import { describeError, logLine } from "../../../src/log.ts";

function lineOf(message: string, fields: Record<string, unknown>): string {
  return logLine("warn", message, fields, 0);
}

it("is one JSON object a line, with time, level, message and the fields", () => {
  expect(JSON.parse(lineOf("two\nlines", { count: 1, none: null }))).toEqual({
    time: "1970-01-01T00:00:00.000Z", level: "warn", message: "two\nlines", count: 1, none: null,
  });
  expect(lineOf("two\nlines", {})).not.toContain("\n");
});

it.each([
  { secret: "s3cr3t" }, { newToken: "s3cr3t" }, { authorization: "s3cr3t" }, { nested: [{ password: "s3cr3t" }] },
  { text: "Bearer s3cr3t" }, { text: "key is whsec_s3cr3t=" }, { text: "token pst_s3cr3t." }, { "webhook-signature": "s3cr3t" },
  { error: describeError(new Error("refused Bearer s3cr3t")) }, { error: new Error("whsec_s3cr3t") },
])("masks what is a secret: %j", (fields) => {
  expect(lineOf("x", fields)).not.toContain("s3cr3t");
});

it("keeps what only sounds like one", () => {
  expect(lineOf("x", { tokenId: "tok_1" })).toContain("tok_1");
});

it("survives what has no end", () => {
  const loop: Record<string, unknown> = {};
  loop["again"] = loop;
  expect(lineOf("x", { loop, bytes: new Uint8Array(10), big: 1n })).toContain('"big":"1"');
});
