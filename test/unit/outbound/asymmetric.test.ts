import { createPublicKey, verify } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { beforeEach, describe, expect, it, vi } from "vitest";
import { attemptDelivery } from "../../../src/delivery/attempt.ts";
import { generateKeyPair, importPrivateKey, publicKeyText } from "../../../src/delivery/ed25519-key.ts";
import { bodyOf, openGateway } from "../http/gateway.ts";
import { endpoint, MESSAGE, NOW_MS, world } from "./world.ts";

beforeEach(() => {
  vi.spyOn(console, "info").mockReturnValue(undefined);
  return () => vi.restoreAllMocks();
});

/** Whether `v1a` is right, as another implementation sees it. */
function isRight(publicKey: string, headers: Headers, body: string): boolean {
  const [, signature = ""] = /(?:^| )v1a,(\S+)/.exec(headers.get("webhook-signature") ?? "") ?? [];
  const signed = `${headers.get("webhook-id")}.${headers.get("webhook-timestamp")}.${body}`;
  const key = createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x: publicKey }, format: "jwk" });
  return verify(null, Buffer.from(signed), key, Buffer.from(signature, "base64"));
}

describe("the `v1a` signature", () => {
  it("stands beside `v1`, over the same text, and verifies with the public key", async () => {
    const { publicKey, privateKey } = await generateKeyPair();
    const at = world(() => new Response());
    await attemptDelivery(await endpoint({ asymmetricKey: await importPrivateKey(privateKey) }), MESSAGE, "t", 1, at);
    const headers = new Headers(at.sent[0]?.init.headers);
    expect(headers.get("webhook-signature")).toMatch(/^v1,[A-Za-z0-9+/]{43}= v1a,[A-Za-z0-9+/]{86}==$/);
    expect(isRight(publicKey, headers, "hello")).toBe(true);
    expect(isRight(publicKey, headers, "hellO")).toBe(false);
    expect(isRight((await generateKeyPair()).publicKey, headers, "hello")).toBe(false);
    expect(headers.get("webhook-timestamp")).toBe(String(NOW_MS / 1000));
  });

  it("is passed over by the official library, which verifies `v1`", async () => {
    const { privateKey } = await generateKeyPair();
    const at = world(() => new Response(), { now: () => Date.now() });
    await attemptDelivery(await endpoint({ asymmetricKey: await importPrivateKey(privateKey) }), MESSAGE, "t", 1, at);
    const headers = Object.fromEntries(new Headers(at.sent[0]?.init.headers));
    expect(() => new Webhook(`whsec_${Buffer.alloc(32).toString("base64")}`).verify("hello", headers, { jsonParse: false })).not.toThrow();
  });

  it("has a public key that Standard Webhooks writes as `whpk_` and base64", async () => {
    const { publicKey } = await generateKeyPair();
    expect(publicKeyText(publicKey)).toBe(`whpk_${Buffer.from(publicKey, "base64url").toString("base64")}`);
    expect(Buffer.from(publicKey, "base64url")).toHaveLength(32);
  });

  it("needs a key: what is none is not repeated", async () => {
    await expect(importPrivateKey("canary!")).rejects.toThrow(/^not a private key$/);
  });
});

describe("the keys of a tenant", () => {
  const gateway = openGateway();
  const make = async (fields: object, tenant?: string) =>
    bodyOf(await gateway.send("POST", "/v1/endpoints", { json: { kind: "push", url: "https://example.com/", ...fields }, ...(tenant === undefined ? {} : { tenant }) }));
  const keys = async (query = "") => (await (await gateway.send("GET", `/.well-known/jwks.json${query}`, { token: null })).json<{ keys: Record<string, string>[] }>()).keys;

  it("are none until an endpoint asks for one, then one, and the same for the next endpoint", async () => {
    await make({});
    expect(await keys()).toEqual([]);
    expect(await make({ asymmetric: true })).toMatchObject({ asymmetric: true });
    const [first] = await keys();
    expect(first).toEqual({ kty: "OKP", crv: "Ed25519", use: "sig", alg: "EdDSA", kid: expect.stringMatching(/^key_/), x: expect.stringMatching(/^[A-Za-z0-9_-]{43}$/), whpk: expect.stringMatching(/^whpk_/) });
    const other = await make({});
    await gateway.send("PATCH", `/v1/endpoints/${other.id}`, { json: { asymmetric: true } });
    expect(await keys("?tenant=default")).toEqual([first]);
  });

  it("keep the private one sealed, and show it nowhere", async () => {
    const rows = JSON.stringify(gateway.sqlite.prepare("SELECT * FROM tenant_signing_keys").all());
    expect(rows).toMatch(/"sealed":"k1\.test\./);
    expect(rows).not.toContain("MC4CAQAwBQYDK2Vw"); // how PKCS #8 of Ed25519 begins
    expect(await (await gateway.send("GET", "/v1/audit")).text()).not.toContain("sealed");
  });

  it("of a tenant that does not exist are as those of one that has none", async () => {
    expect(await keys("?tenant=ten_none")).toEqual([]);
    expect((await gateway.send("GET", `/.well-known/jwks.json?tenant=${"x".repeat(200)}`, { token: null })).status).toBe(422);
  });
});

describe("the authentication of an endpoint", () => {
  const gateway = openGateway();
  const auth = { kind: "oauth2", tokenUrl: "https://auth.example.com/token", clientId: "me", clientSecret: "canary-5aef-0123" };
  const make = (fields: object) => gateway.send("POST", "/v1/endpoints", { json: { kind: "push", url: "https://example.com/", ...fields } });
  const sealedAuth = (id: string) => String(gateway.sqlite.prepare("SELECT auth FROM endpoints WHERE id = ?").get(id)?.["auth"]);

  it("is shown without its secret, and kept when it is sent back so", async () => {
    const created = await make({ auth });
    expect(created.status).toBe(201);
    const text = await created.text();
    const { id } = JSON.parse(text);
    expect(JSON.parse(text).auth).toEqual({ ...auth, clientSecret: "***", scope: null });
    const before = sealedAuth(id);
    const changed = await gateway.send("PATCH", `/v1/endpoints/${id}`, { json: { auth: { ...auth, clientSecret: "***", scope: "a" } } });
    expect(await changed.json()).toMatchObject({ auth: { scope: "a", clientSecret: "***" } });
    expect(sealedAuth(id)).not.toBe(before);
    for (const path of [`/v1/endpoints/${id}`, "/v1/endpoints", "/v1/audit"]) expect(await (await gateway.send("GET", path)).text()).not.toContain("canary");
    expect(await (await gateway.send("PATCH", `/v1/endpoints/${id}`, { json: { auth: null } })).json()).toMatchObject({ auth: null });
    expect(sealedAuth(id)).toBe("null");
  });

  it("does not have its secret sent to another place by who may not read it", async () => {
    const { id } = await bodyOf(await make({ auth }));
    for (const change of [{ tokenUrl: "https://evil.example.com/" }, { clientId: "other" }]) {
      const response = await gateway.send("PATCH", `/v1/endpoints/${id}`, { json: { auth: { ...auth, clientSecret: "***", ...change } } });
      expect([response.status, (await bodyOf(response)).errors[0]?.pointer]).toEqual([422, "/auth/clientSecret"]);
    }
  });

  it.each<[object, string]>([
    [{ ...auth, tokenUrl: "https://127.0.0.1/" }, "/auth/tokenUrl"],
    [{ ...auth, tokenUrl: "http://auth.example.com/" }, "/auth/tokenUrl"],
    [{ ...auth, clientSecret: "***" }, "/auth/clientSecret"],
    [{ ...auth, clientSecret: "" }, "/auth/clientSecret"],
    [{ ...auth, kind: "basic" }, "/auth/kind"],
    [{ ...auth, password: "x" }, "/auth/password"],
  ])("is refused as %j", async (given, pointer) => {
    const response = await make({ auth: given });
    expect([response.status, (await bodyOf(response)).errors.map((error) => error.pointer)]).toEqual([422, [pointer]]);
  });
});
