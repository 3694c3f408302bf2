import { describe, expect, it } from "vitest";
import { parseConfig } from "../../../src/config.ts";
import { attemptDelivery } from "../../../src/delivery/attempt.ts";
import { clientCertificates } from "../../../src/delivery/client-certificates.ts";
import { endpoint, MESSAGE, world } from "./world.ts";

const KEYS = { POSTERN_ENCRYPTION_KEYS: `k:${btoa("k".repeat(32))}` };

/** A certificate binding that says by which certificate it was reached. */
const binding = (name: string) => ({ fetch: async () => new Response(name, { status: 200 }) });
const env = { SHARED: binding("SHARED"), ACME: binding("ACME"), UNLISTED: binding("UNLISTED"), DB: {} };
const grants = [{ binding: "SHARED", tenantId: null }, { binding: "ACME", tenantId: "acme" }, { binding: "DB", tenantId: null }];

describe("client certificates", () => {
  it.each([
    ["SHARED", "default", true], ["SHARED", "acme", true], ["ACME", "acme", true],
    ["ACME", "default", false], ["UNLISTED", "acme", false], ["DB", "acme", false], ["__proto__", "acme", false], ["constructor", "acme", false],
  ])("%s may be named by %s: %s", async (name, tenantId, allowed) => {
    const request = clientCertificates(grants, env).fetchWith(tenantId, name);
    expect(request === null ? null : await (await request("https://example.com/")).text()).toBe(allowed ? name : null);
  });

  it.each([
    ["http://example.com/", true, "needs an https URL"],
    ["https://example.com/", false, "is not there for this tenant"],
  ])("an attempt at %s sends nothing where there is nothing to present it with", async (url, isListed, detail) => {
    const certificates = clientCertificates(isListed ? grants : [], env);
    const at = world(() => new Response(), { allowHttp: true, certificates });
    const report = await attemptDelivery(await endpoint({ url, auth: { kind: "mtls", certificate: "SHARED" } }), MESSAGE, "t", 1, at);
    expect(report.record.error).toMatchObject({ code: "authentication-failed", detail: expect.stringContaining(detail) });
    expect(at.sent).toEqual([]);
  });

  it("go by the binding's fetch and by nothing else", async () => {
    const at = world(() => new Response(), { certificates: clientCertificates(grants, env) });
    const report = await attemptDelivery(await endpoint({ auth: { kind: "mtls", certificate: "SHARED" } }), MESSAGE, "t", 1, at);
    expect([report.succeeded, report.record.responseBody, at.sent]).toEqual([true, "SHARED", []]);
  });
});

describe("POSTERN_MTLS_CERTIFICATES", () => {
  const parse = (list: string) => parseConfig({ ...KEYS, ...env, POSTERN_MTLS_CERTIFICATES: list }).certificates;

  it("lists bindings, for all tenants or for one", () => {
    expect(parse("SHARED, ACME@acme ACME@other")).toEqual([
      { binding: "SHARED", tenantId: null }, { binding: "ACME", tenantId: "acme" }, { binding: "ACME", tenantId: "other" },
    ]);
    expect(parse("")).toEqual([]);
  });

  it.each([["MISSING", /MISSING is not bound/], ["DB", /DB is not bound/], ["A B@", /each entry is a binding/], ["A-B", /each entry/]])("refuses %j, saying what to do", (list, message) => {
    expect(() => parse(list)).toThrow(message);
  });
});
