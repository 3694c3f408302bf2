import { describe, expect, it } from "vitest";
import { parseIssuers } from "../../../src/auth/issuers.ts";
import { parseConfig } from "../../../src/config.ts";
import { SETTINGS } from "./issuer.ts";

const parse = (...issuers: unknown[]) => parseIssuers(JSON.stringify(issuers), new Set(["127.0.0.1:9100"]));

describe("POSTERN_JWT_ISSUERS", () => {
  it("fills in what is left out", () => {
    expect(parse(SETTINGS)).toEqual([
      {
        ...SETTINGS, algorithms: ["RS256", "ES256", "EdDSA"], tenantClaim: "tenant", scopesClaim: "scope", leewaySeconds: 30,
        operatorClaim: null,
      },
    ]);
  });

  it.each([
    ["HS256", { algorithms: ["HS256"] }],
    ["none", { algorithms: ["none"] }],
    ["no algorithm", { algorithms: [] }],
    ["a leeway of more than a minute", { leewaySeconds: 61 }],
    ["an unknown setting", { allowNone: true }],
    ["no audience", { audience: "" }],
    ["a JWKS by http", { jwksUrl: "http://login.example.com/keys" }],
    ["a JWKS on a private address that is not allowed", { jwksUrl: "http://127.0.0.1:9101/keys" }],
    ["a JWKS in a file", { jwksUrl: "file:///etc/keys" }],
    ["credentials in the JWKS URL", { jwksUrl: "https://user:word@login.example.com/keys" }],
  ])("refuses %s", (_what, settings) => {
    expect(() => parse({ ...SETTINGS, ...settings })).toThrow(/^POSTERN_JWT_ISSUERS: /);
  });

  it("refuses an issuer that is there twice, and what is no array", () => {
    expect(() => parse(SETTINGS, SETTINGS)).toThrow("listed twice");
    expect(() => parseIssuers("{}", new Set())).toThrow(/^POSTERN_JWT_ISSUERS: /);
    expect(() => parseIssuers("[", new Set())).toThrow("must be a JSON array");
  });

  it("lets an allowed private address serve its keys by http", () => {
    expect(parse({ ...SETTINGS, jwksUrl: "http://127.0.0.1:9100/keys" })).toHaveLength(1);
  });

  it("is read with the rest of the configuration", () => {
    const env = { POSTERN_ENCRYPTION_KEYS: `test:${btoa("k".repeat(32))}` };
    expect(parseConfig(env).jwtIssuers).toEqual([]);
    expect(parseConfig({ ...env, POSTERN_JWT_ISSUERS: JSON.stringify([SETTINGS]) }).jwtIssuers).toHaveLength(1);
    expect(() => parseConfig({ ...env, POSTERN_JWT_ISSUERS: "nonsense" })).toThrow("POSTERN_JWT_ISSUERS");
  });
});
