import { describe, expect, it } from "vitest";
import { customHeaderFault } from "../../../src/delivery/custom-headers.ts";

describe("customHeaderFault", () => {
  it.each(["authorization", "X-Api-Key", "user-agent", "accept", "cookie", "x_y", "te-am", "hostname", "cfoo"])(
    "lets %s pass",
    (name) => {
      expect(customHeaderFault(name, "value")).toBeNull();
    },
  );

  it.each([
    "connection", "Keep-Alive", "proxy-authorization", "proxy-anything", "TE", "trailer", "transfer-encoding", "upgrade",
    "host", "Host", "content-length", "content-type", "content-encoding", "expect", "cf-connecting-ip", "CF-Ray",
    "webhook-id", "Webhook-Signature", "postern-topic", "postern-attribute-x", "ce-id", "traceparent", "tracestate",
  ])("refuses %s, which is not the endpoint's to set", (name) => {
    expect(customHeaderFault(name, "value")).toMatch(/set by the gateway/);
  });

  it.each(["", "a b", "a:b", "a\r\nb", "naïve", "a\u0000", "(x)", "x,y"])("refuses the name %j", (name) => {
    expect(customHeaderFault(name, "value")).toMatch(/not a header name/);
  });

  it("refuses a name of more than 128 characters", () => {
    expect(customHeaderFault("x".repeat(128), "v")).toBeNull();
    expect(customHeaderFault("x".repeat(129), "v")).toMatch(/128/);
  });

  it.each(["", "a", "Bearer abc==", "a  b", "~!@#$%^&*()", "x".repeat(1024)])("takes the value %j", (value) => {
    expect(customHeaderFault("x-a", value)).toBeNull();
  });

  it.each(["a\r\nx-evil: 1", "a\nb", "a\rb", "a\tb", "\u0000", "\u007f", "naïve", "💥", " a", "a ", " "])(
    "refuses the value %j",
    (value) => {
      expect(customHeaderFault("x-a", value)).toMatch(/printable ASCII/);
    },
  );

  it("refuses a value of more than 1 KiB and does not repeat it", () => {
    expect(customHeaderFault("x-a", "s".repeat(1025))).toBe("has a value of more than 1024 characters");
  });
});
