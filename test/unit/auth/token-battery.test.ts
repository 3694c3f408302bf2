import { exportJWK, exportSPKI, generateKeyPair, importJWK, SignJWT } from "jose";
import { beforeAll, describe, expect, it } from "vitest";
import { IssuerKeys } from "../../../src/auth/issuer-keys.ts";
import type { Issuer } from "../../../src/auth/issuers.ts";
import { looksLikeJwt, type VerifiedJwt, verifyJwt } from "../../../src/auth/verify-jwt.ts";
import { AUDIENCE, compact, ISSUER, issuerWith, JWKS_URL, sign, type SigningKey, signingKey } from "./issuer.ts";

let known: SigningKey;
let foreign: SigningKey;
const fetched: string[] = [];

beforeAll(async () => {
  [known, foreign] = await Promise.all([signingKey("known"), signingKey("foreign")]);
});

function verify(token: string, issuer: Issuer = issuerWith(), jwks: unknown = { keys: [known.jwk] }): Promise<VerifiedJwt> {
  const keys = new IssuerKeys({
    fetch: async (url) => {
      fetched.push(url);
      return Response.json(jwks);
    },
    sleep: async () => undefined,
    onFailure: () => undefined,
  });
  return verifyJwt(token, { issuers: [issuer], keys, inBackground: () => undefined }, Date.now());
}

async function reasonFor(...request: Parameters<typeof verify>): Promise<string> {
  const verified = await verify(...request);
  return verified.ok ? "accepted" : verified.reason;
}

const NOW = Math.floor(Date.now() / 1000);

describe("the token battery", () => {
  it("accepts what the issuer signed for this audience", async () => {
    const verified = await verify(await sign(known));
    expect(verified).toMatchObject({ ok: true, claims: { sub: "someone", tenant: "acme" } });
  });

  it("accepts each algorithm that is allowed by default, and no other", async () => {
    for (const alg of ["RS256", "ES256", "EdDSA"]) {
      const key = await signingKey("k", alg);
      expect(await reasonFor(await sign(key), issuerWith(), { keys: [key.jwk] }), alg).toBe("accepted");
    }
    for (const alg of ["PS256", "ES384", "RS512"]) {
      const key = await signingKey("k", alg);
      expect(await reasonFor(await sign(key), issuerWith(), { keys: [key.jwk] }), alg).toBe("algorithm");
      expect(await reasonFor(await sign(key), issuerWith({ algorithms: [alg] }), { keys: [key.jwk] }), alg).toBe("accepted");
    }
  });

  it("refuses alg none, however it is spelled, with a signature or without", async () => {
    const [, claims = "", signature = ""] = (await sign(known)).split(".");
    for (const alg of ["none", "None", "NONE", "nOnE", "", null, ["RS256"], { toString: "RS256" }]) {
      const header = Buffer.from(JSON.stringify({ alg, kid: "known" })).toString("base64url");
      expect(await reasonFor(`${header}.${claims}.`), JSON.stringify(alg)).toBe("algorithm");
      expect(await reasonFor(`${header}.${claims}.${signature}`), JSON.stringify(alg)).toBe("algorithm");
    }
    expect(await reasonFor(`.${claims}.`)).toBe("malformed");
  });

  it("refuses HS256 with the RSA key as the secret, in any of its forms", async () => {
    const key = await importJWK(known.jwk, "RS256");
    if (!(key instanceof CryptoKey)) throw new Error("the key is a CryptoKey");
    const pem = await exportSPKI(key);
    const claims = { iss: ISSUER, aud: AUDIENCE, sub: "x", tenant: "acme", exp: NOW + 300 };
    for (const secret of [pem, pem.trim(), JSON.stringify(known.jwk), known.jwk.n ?? ""]) {
      const token = await new SignJWT(claims).setProtectedHeader({ alg: "HS256", kid: "known" }).sign(new TextEncoder().encode(secret));
      expect(await reasonFor(token)).toBe("algorithm");
    }
  });

  it("never takes a secret key, nor a private one, out of the JWKS", async () => {
    const secret = { kty: "oct", k: Buffer.alloc(32, 1).toString("base64url"), kid: "s", alg: "HS256" };
    const { privateKey } = await generateKeyPair("ES256", { extractable: true });
    const { d } = await exportJWK(privateKey);
    const ec = await signingKey("known", "ES256");
    expect(await reasonFor(await sign(ec), issuerWith(), { keys: [secret, { ...ec.jwk, d }] })).toBe("keys-unavailable");
  });

  it("refuses a token that brings its key, whoever signed it, and never looks where it points", async () => {
    fetched.length = 0;
    const headers = [
      { jwk: foreign.jwk },
      { jku: "https://evil.example.com/keys" },
      { x5u: "https://evil.example.com/chain.pem" },
      { x5c: ["MIIB"] },
    ];
    for (const header of headers) {
      for (const key of [foreign, known]) {
        const token = await sign({ ...key, kid: "known" }, {}, header);
        expect(await reasonFor(token), JSON.stringify(header)).toBe("brings-its-key");
      }
    }
    expect(await reasonFor(await sign({ ...foreign, kid: "known" }))).toBe("signature");
    expect(await reasonFor(await sign(foreign))).toBe("unknown-key");
    expect(new Set(fetched)).toEqual(new Set([JWKS_URL]));
  });

  it.each<[string, unknown]>([
    ["another service", "https://other.example.com"],
    ["an array of others", ["https://other.example.com", "https://another.example.com"]],
    ["an empty array", []],
    ["ours inside an array inside the array", [[AUDIENCE]]],
    ["one that begins as ours does", [`${AUDIENCE}.evil.example`]],
    ["one of which ours is the beginning", AUDIENCE.slice(0, -1)],
    ["ours in capitals", AUDIENCE.toUpperCase()],
    ["an object", { [AUDIENCE]: true }],
    ["nobody", undefined],
    ["null", null],
  ])("refuses a token for %s", async (_what, aud) => {
    expect(await reasonFor(await signRaw({ aud }))).toBe("claims");
  });

  it("accepts an array that names this audience among others (RFC 7519 §4.1.3)", async () => {
    expect(await reasonFor(await sign(known, { aud: ["https://other.example.com", AUDIENCE] }))).toBe("accepted");
  });

  it.each<[string, unknown, string]>([
    ["none", undefined, "claims"],
    ["null", null, "claims"],
    ["a text", String(NOW + 300), "claims"],
    ["in the past", NOW - 31, "expired"],
    ["long past", 1, "expired"],
    ["before time", -1, "expired"],
  ])("refuses an exp that is %s", async (_what, exp, reason) => {
    expect(await reasonFor(await signRaw({ exp }))).toBe(reason);
  });

  it("respects nbf, and gives either clock the leeway that is configured", async () => {
    expect(await reasonFor(await sign(known, { nbf: NOW + 300 }))).toBe("claims");
    expect(await reasonFor(await signRaw({ nbf: "soon" }))).toBe("claims");
    expect(await reasonFor(await sign(known, { nbf: NOW + 20 }))).toBe("accepted");
    expect(await reasonFor(await sign(known, { exp: NOW - 20 }))).toBe("accepted");
    const strict = issuerWith({ leewaySeconds: 0 });
    expect(await reasonFor(await sign(known, { nbf: NOW + 20 }), strict)).toBe("claims");
    expect(await reasonFor(await sign(known, { exp: NOW - 20 }), strict)).toBe("expired");
  });

  it("refuses another issuer, with our key too", async () => {
    for (const iss of ["https://evil.example.com/", ISSUER.slice(0, -1), ISSUER.toUpperCase(), `${ISSUER} `, undefined]) {
      expect(await reasonFor(await signRaw({ iss }))).toBe("unknown-issuer");
    }
    expect(await reasonFor(await signRaw({ iss: [ISSUER] }))).toBe("unknown-issuer");
  });

  it("refuses a claim, header or signature that was changed", async () => {
    const [header = "", , signature = ""] = (await sign(known)).split(".");
    const claims = { iss: ISSUER, aud: AUDIENCE, sub: "someone", tenant: "other", scope: "admin", exp: NOW + 300 };
    expect(await reasonFor(`${header}.${Buffer.from(JSON.stringify(claims)).toString("base64url")}.${signature}`)).toBe("signature");
    expect(await reasonFor(compact({ alg: "RS256", kid: "known" }, claims))).toBe("signature");
    const flipped = `${signature.startsWith("A") ? "B" : "A"}${signature.slice(1)}`;
    expect(await reasonFor((await sign(known)).replace(signature, flipped))).toBe("signature");
  });

  it("refuses a type, or critical header, that was made for something else", async () => {
    for (const typ of ["logout+jwt", "dpop+jwt", "JWE", ""]) expect(await reasonFor(await sign(known, {}, { typ }))).toBe("type");
    for (const typ of ["JWT", "at+jwt", "application/at+jwt"]) expect(await reasonFor(await sign(known, {}, { typ }))).toBe("accepted");
    expect(await reasonFor(await signRaw({}, { crit: ["exp"] }))).toBe("malformed");
    expect(await reasonFor(await signRaw({}, { crit: ["x-new"], "x-new": 1 }))).toBe("malformed");
    expect(await reasonFor(await signRaw({}, { crit: ["b64"], b64: false }))).not.toBe("accepted");
  });

  it("wants an algorithm's own kind of key", async () => {
    const ec = await signingKey("known", "ES256");
    expect(await reasonFor(await sign(known), issuerWith(), { keys: [ec.jwk] })).toBe("unknown-key");
    expect(await reasonFor(await sign(known), issuerWith(), { keys: [{ ...known.jwk, alg: "RS512" }, ec.jwk] })).toBe("unknown-key");
    expect(await reasonFor(await sign(known), issuerWith(), { keys: [{ ...known.jwk, use: "enc" }, ec.jwk] })).toBe("unknown-key");
    const { alg: _alg, use: _use, ...bare } = known.jwk;
    expect(await reasonFor(await sign(known), issuerWith(), { keys: [bare] })).toBe("accepted");
  });

  it("takes a token without kid only where one key can be meant", async () => {
    const [header, rest] = [{ kid: undefined }, {}];
    expect(await reasonFor(await sign(known, rest, header))).toBe("accepted");
    expect(await reasonFor(await sign(known, rest, header), issuerWith(), { keys: [known.jwk, foreign.jwk] })).toBe("unknown-key");
    expect(await reasonFor(await sign(known, rest, { kid: 7 }))).toBe("malformed");
  });
});

it("knows a JWT from an API token by its dots", () => {
  expect(looksLikeJwt(compact({ alg: "none" }, {}))).toBe(true);
  for (const other of ["pst_abcDEF-_0123456789", "a.b", "a.b.c.d.e", "..", "a b.c.d"]) expect(looksLikeJwt(other)).toBe(false);
});

/** As `sign`, also of claims no library would sign. */
async function signRaw(claims: Record<string, unknown>, header: Record<string, unknown> = {}): Promise<string> {
  const all = { iss: ISSUER, aud: AUDIENCE, sub: "someone", tenant: "acme", exp: NOW + 300, ...claims };
  const signed = compact({ alg: "RS256", kid: "known", ...header }, all).slice(0, -1);
  const signature = await crypto.subtle.sign("RSASSA-PKCS1-v1_5", known.privateKey, new TextEncoder().encode(signed));
  return `${signed}.${Buffer.from(signature).toString("base64url")}`;
}
