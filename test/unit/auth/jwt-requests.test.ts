import { beforeAll, beforeEach, describe, expect, it, vi } from "vitest";
import { bodyOf, makeToken, openGateway } from "../http/gateway.ts";
import { JWKS_URL, SETTINGS, sign, type SigningKey, signingKey } from "./issuer.ts";

const OPERATORS = { ...SETTINGS, issuer: "https://staff.example.com", jwksUrl: "https://staff.example.com/keys", operator: true };
const gateway = openGateway({ POSTERN_JWT_ISSUERS: JSON.stringify([SETTINGS, OPERATORS]) });

let key: SigningKey;
beforeAll(async () => {
  key = await signingKey("known");
  await gateway.send("POST", "/v1/tenants", { json: { id: "acme" } });
});

const lines: string[] = [];
beforeEach(() => {
  lines.length = 0;
  for (const method of ["info", "warn", "error"] as const) {
    vi.spyOn(console, method).mockImplementation((line: unknown) => void lines.push(String(line)));
  }
  vi.spyOn(globalThis, "fetch").mockImplementation(async (url) => {
    expect([JWKS_URL, OPERATORS.jwksUrl]).toContain(url);
    return Response.json({ keys: [key.jwk] });
  });
});

const list = (token: string, options: { readonly tenant?: string; readonly path?: string } = {}): Promise<Response> =>
  gateway.send("GET", options.path ?? "/v1/endpoints", { token, ...(options.tenant === undefined ? {} : { tenant: options.tenant }) });

describe("a JWT of a configured issuer", () => {
  it("acts for the tenant and with the scopes of its claims", async () => {
    expect((await list(await sign(key, { scope: "openid read" }))).status).toBe(200);
    expect((await list(await sign(key, { scope: ["manage", "x"] }))).status).toBe(200);
    for (const scope of ["", "openid", "Read", "readmanage", 7, { read: true }, undefined]) {
      expect((await list(await sign(key, { scope }))).status, String(scope)).toBe(403);
    }
  });

  it("is refused for a tenant that does not exist, or that it does not name: 401", async () => {
    for (const tenant of ["nowhere", "", "ACME", ["acme"], { id: "acme" }, null, undefined, "__proto__"]) {
      const response = await list(await sign(key, { tenant }));
      expect(response.status, String(tenant)).toBe(401);
      expect(response.headers.get("www-authenticate")).toContain('error="invalid_token"');
    }
  });

  it("can not name another tenant in a header", async () => {
    const token = await sign(key);
    const answers = await Promise.all(["default", "nowhere"].map(async (tenant) => ({ ...(await bodyOf(await list(token, { tenant }))), instance: "" })));
    expect(answers[0]).toEqual(answers[1]);
    expect(answers[0]).toMatchObject({ status: 404 });
    expect((await list(token, { tenant: "acme" })).status).toBe(200);
  });

  it("never makes an operator, unless its issuer may and its claim is true", async () => {
    const claims = { scope: "admin", operator: true };
    expect((await list(await sign(key, claims), { path: "/v1/tenants" })).status).toBe(403);
    const staff = { ...claims, iss: OPERATORS.issuer };
    expect((await list(await sign(key, staff), { path: "/v1/tenants" })).status).toBe(200);
    for (const operator of ["true", 1, {}, false, undefined]) {
      expect((await list(await sign(key, { ...staff, operator }), { path: "/v1/tenants" })).status).toBe(403);
    }
    const anywhere = await sign(key, { ...staff, scope: "read", tenant: undefined });
    expect((await list(anywhere, { tenant: "acme" })).status).toBe(200);
    expect((await list(anywhere, { tenant: "nowhere" })).status).toBe(404);
  });

  it("answers every refusal alike, and names the reason in the log alone", async () => {
    const refused = [await sign(key, { exp: 1 }), await sign(key, { aud: "other" }), await sign({ ...key, kid: "made-up" }), "a.b.c"];
    const bodies = await Promise.all(
      [...refused, "pst_unknown"].map(async (token) => {
        const response = await list(token);
        expect(response.status).toBe(401);
        return JSON.stringify({ ...(await bodyOf(response)), instance: "" });
      }),
    );
    expect(new Set(bodies).size).toBe(1);
    const log = lines.join("\n");
    for (const reason of ["expired", "claims", "unknown-key", "malformed"]) expect(log).toContain(`"reason":"${reason}"`);
    for (const token of refused.slice(0, 3)) expect(log).not.toContain(token.split(".")[2]);
  });

  it("leaves who it was in the audit log", async () => {
    const token = await sign(key, { scope: "admin read" });
    const made = await gateway.send("POST", "/v1/tokens", { token, json: { name: "by a person", scopes: ["read"] } });
    expect(made.status).toBe(201);
    const { data } = await bodyOf(await gateway.send("GET", "/v1/audit", { token }));
    expect(data[0]).toMatchObject({ action: "token.create", actor: `jwt:someone@${SETTINGS.issuer}` });
  });

  it("does not get in the way of our own tokens", async () => {
    expect((await list(await makeToken(gateway, ["read"]))).status).toBe(200);
  });
});
