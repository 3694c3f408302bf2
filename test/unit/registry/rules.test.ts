import { describe, expect, it } from "vitest";
import { unmaskHeaders, urlFault } from "../../../src/registry/endpoint-input.ts";
import { keyedPattern, refusalOf } from "../../../src/registry/rules.ts";

const GUARD = { allowHosts: new Set<string>(), allowHttp: false };

describe("refusalOf", () => {
  it("accepts what keeps to the grammar and the policies", () => {
    const wishes = { url: "https://example.com/hook", node: "berlin.printer-1", topics: ["a.b", "a.*", "**"], queue: "billing" };
    expect(refusalOf({ ...wishes, filter: { country: ["DE", { prefix: "A" }] } }, GUARD)).toBeNull();
    expect(refusalOf({}, GUARD)).toBeNull();
  });

  it.each([
    [{ topics: ["a.b", "a..b"] }, "/topics/1"],
    [{ topics: [""] }, "/topics/0"],
    [{ topics: ["a.**.b"] }, "/topics/0"],
    [{ topics: ["x".repeat(129)] }, "/topics/0"],
    [{ topic: "a b" }, "/topic"],
    [{ node: "a/b" }, "/node"],
    [{ node: "" }, "/node"],
    [{ queue: "a.*" }, "/queue"],
  ])("finds the target in %j malformed", (wishes, pointer) => {
    const refusal = refusalOf(wishes, GUARD);
    expect(refusal).toMatchObject({ code: "malformed-target", faults: [{ pointer }] });
  });

  it.each([
    "http://example.com/", "https://localhost/", "https://10.0.0.1/", "https://[::1]/", "https://user:pw@example.com/", "nope",
  ])("refuses the address %s and points at it", (url) => {
    const refusal = refusalOf({ url }, GUARD);
    expect(refusal).toMatchObject({ code: "invalid", faults: [{ pointer: "/url" }] });
  });

  it("points into a filter policy that does not compile", () => {
    const refusal = refusalOf({ filter: { country: [{ prefix: 5 }] } }, GUARD);
    expect(refusal).toMatchObject({ code: "invalid", faults: [{ pointer: expect.stringMatching(/^\/filter\/country/) }] });
  });

  it("judges a filter by its scope", () => {
    const filter = { order: { country: ["DE"] } };
    expect(refusalOf({ filter, filterScope: "body" }, GUARD)).toBeNull();
    expect(refusalOf({ filter, filterScope: "attributes" }, GUARD)).toMatchObject({ code: "invalid" });
  });
});

describe("keyedPattern", () => {
  it("gives the key that publishing looks up", () => {
    expect(keyedPattern("orders.*")).toEqual({ topic: "orders.*", topicKey: "~orders" });
  });
});

describe("urlFault", () => {
  it("wants a URL for push and none for pull", () => {
    expect(urlFault("push", null)).toMatchObject({ pointer: "/url" });
    expect(urlFault("pull", "https://example.com/")).toMatchObject({ pointer: "/url" });
    expect(urlFault("push", "https://example.com/")).toBeNull();
    expect(urlFault("pull", null)).toBeNull();
    expect(urlFault("push", undefined)).toBeNull();
  });
});

describe("unmaskHeaders", () => {
  it("keeps a stored value for a masked one, and takes new ones", () => {
    const { headers, faults } = unmaskHeaders({ "x-a": "***", "x-b": "2" }, { "x-a": "1", "x-c": "3" });
    expect(headers).toEqual({ "x-a": "1", "x-b": "2" });
    expect(faults).toEqual([]);
  });

  it.each(["x-b", "constructor"])("refuses a mask where nothing is stored (%s)", (name) => {
    expect(unmaskHeaders({ [name]: "***" }, { "x-a": "1" }).faults).toMatchObject([{ pointer: `/headers/${name}` }]);
  });
});
