import { describe, expect, it } from "vitest";
import { childTraceparent, newTraceparent, parseTraceparent } from "../../../src/messages/traceparent.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";
const VALID = `00-${TRACE}-${SPAN}-01`;
const fillWith = (value: number) => (bytes: Uint8Array) => {
  bytes.fill(value);
};

describe("parseTraceparent", () => {
  it("passes the example of the standard", () => {
    expect(parseTraceparent(VALID)).toBe(VALID);
    expect(parseTraceparent(` ${VALID} `)).toBe(VALID);
  });

  it("reads a later version as far as it knows it", () => {
    expect(parseTraceparent(`01-${TRACE}-${SPAN}-01-what-comes`)).toBe(VALID);
    expect(parseTraceparent(`cc-${TRACE}-${SPAN}-09`)).toBe(VALID);
  });

  it("passes on only the flags that are defined", () => {
    expect(parseTraceparent(`00-${TRACE}-${SPAN}-ff`)).toBe(`00-${TRACE}-${SPAN}-03`);
    expect(parseTraceparent(`00-${TRACE}-${SPAN}-00`)).toBe(`00-${TRACE}-${SPAN}-00`);
  });

  it.each([
    null,
    "",
    "00",
    `ff-${TRACE}-${SPAN}-01`,
    `00-${"0".repeat(32)}-${SPAN}-01`,
    `00-${TRACE}-${"0".repeat(16)}-01`,
    `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}-1`,
    `00-${TRACE}-${SPAN}-01-x`,
    `00-${TRACE}-${SPAN}-01x`,
    `01-${TRACE}-${SPAN}-01x`,
    `00-${TRACE.slice(1)}-${SPAN}-01`,
    `00-${TRACE}-${SPAN}g-01`,
    `${VALID}, ${VALID}`,
    `0g-${TRACE}-${SPAN}-01`,
  ])("refuses %j", (header) => {
    expect(parseTraceparent(header)).toBeNull();
  });
});

describe("new traces and spans", () => {
  it("starts a valid, sampled trace", () => {
    expect(newTraceparent(fillWith(0xab))).toBe(`00-${"ab".repeat(16)}-${"ab".repeat(8)}-01`);
  });

  it("keeps the trace and its flags in a child, with a span of its own", () => {
    expect(childTraceparent(VALID, fillWith(0xcd))).toBe(`00-${TRACE}-${"cd".repeat(8)}-01`);
    expect(childTraceparent(`00-${TRACE}-${SPAN}-00`, fillWith(0xcd))).toBe(`00-${TRACE}-${"cd".repeat(8)}-00`);
  });

  it("starts a new trace when the parent is none", () => {
    expect(childTraceparent("nonsense", fillWith(1))).toBe(newTraceparent(fillWith(1)));
  });

  it("never makes an id of zeros", () => {
    expect(parseTraceparent(newTraceparent(fillWith(0)))).not.toBeNull();
    expect(parseTraceparent(childTraceparent(VALID, fillWith(0)))).not.toBeNull();
  });
});
