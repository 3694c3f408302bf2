import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { InboundRefusal } from "../../../src/inbound/refusal.ts";
import { type HmacScheme, schemeFaults, type WebhookKind } from "../../../src/inbound/scheme.ts";
import { importVerifyingKey, secretBytes } from "../../../src/inbound/secret.ts";
import { verify } from "../../../src/inbound/verify.ts";
import { GITHUB, hmac, shopify, SLACK, slack, STANDARD, standard, stripe, type Vector } from "./vectors.ts";

const NOW_MS = Date.parse("2026-11-17T09:30:00Z");
const STRIPE = stripe("whsec_of_stripe_as_it_is_shown", '{"id":"evt_1","type":"invoice.paid"}', NOW_MS);
const SHOPIFY = shopify("hush_hush_hush_hush", '{"id":820982911946154508}', "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043");

const VECTORS: readonly (readonly [WebhookKind, Vector])[] = [
  ["github", GITHUB],
  ["slack", SLACK],
  ["standard-webhooks", STANDARD],
  ["stripe", STRIPE],
  ["shopify", SHOPIFY],
];

type Change = { readonly headers?: Record<string, string | undefined>; readonly body?: string; readonly secret?: string; readonly atMs?: number };

/** What verification makes of a vector, with some of it changed; undefined takes a header away. */
async function outcome(kind: WebhookKind, vector: Vector, change: Change = {}, scheme: HmacScheme | null = null): Promise<InboundRefusal | "verified"> {
  const headers = new Headers();
  for (const [name, value] of Object.entries({ ...vector.headers, ...change.headers })) if (value !== undefined) headers.set(name, value);
  const keys = [await importVerifyingKey(kind, scheme, change.secret ?? vector.secret)];
  const body = new TextEncoder().encode(change.body ?? vector.body);
  const result = await verify({ headers, body }, { kind, scheme, keys }, change.atMs ?? vector.atMs);
  return result.ok ? "verified" : result.reason;
}

const signatureHeader: Readonly<Record<string, string>> = {
  github: "x-hub-signature-256", slack: "x-slack-signature", "standard-webhooks": "webhook-signature",
  stripe: "stripe-signature", shopify: "x-shopify-hmac-sha256",
};

describe.each(VECTORS)("a delivery of %s", (kind, vector) => {
  const name = signatureHeader[kind] ?? "";

  it("is verified as the sender documents it", async () => {
    expect(await outcome(kind, vector)).toBe("verified");
  });

  it("is refused with any byte of its body changed, added or gone", async () => {
    await fc.assert(
      fc.asyncProperty(fc.nat(vector.body.length - 1), fc.integer({ min: 1, max: 255 }), async (at, flip) => {
        const bytes = Buffer.from(vector.body);
        bytes[at] = (bytes[at] ?? 0) ^ flip;
        const headers = new Headers(vector.headers);
        const keys = [await importVerifyingKey(kind, null, vector.secret)];
        expect(await verify({ headers, body: bytes }, { kind, scheme: null, keys }, vector.atMs)).toEqual({ ok: false, reason: "signature-mismatch" });
      }),
      { numRuns: 30 },
    );
    expect(await outcome(kind, vector, { body: `${vector.body} ` })).toBe("signature-mismatch");
    expect(await outcome(kind, vector, { body: vector.body.slice(1) })).toBe("signature-mismatch");
    expect(await outcome(kind, vector, { body: `\ufeff${vector.body}` })).toBe("signature-mismatch");
  });

  it("is refused under another secret", async () => {
    const secret = kind === "standard-webhooks" ? `whsec_${btoa("another secret of 32 bytes, yes!")}` : `${vector.secret}x`;
    expect(await outcome(kind, vector, { secret })).toBe("signature-mismatch");
  });

  it.each<[string | undefined, InboundRefusal]>([
    [undefined, "signature-missing"],
    ["", kind === "github" || kind === "slack" ? "signature-malformed" : kind === "stripe" ? "timestamp-missing" : "signature-missing"],
    ["nonsense!", kind === "standard-webhooks" ? "signature-missing" : kind === "stripe" ? "timestamp-missing" : "signature-malformed"],
  ])("is refused with the signature %j", async (value, reason) => {
    const refused = await outcome(kind, vector, { headers: { [name]: value } });
    expect(kind === "shopify" && value === "" ? "signature-missing" : refused).toBe(reason);
  });

  it("is refused when two signature headers came", async () => {
    const twice = `${vector.headers[name]}, ${vector.headers[name]}`;
    expect(await outcome(kind, vector, { headers: { [name]: twice } })).not.toBe("verified");
  });
});

describe("the time a sender signs", () => {
  it.each<[WebhookKind, Vector]>([["slack", SLACK], ["standard-webhooks", STANDARD], ["stripe", STRIPE]])("may be five minutes off, of %s", async (kind, vector) => {
    const minutes = 60_000;
    expect(await outcome(kind, vector, { atMs: vector.atMs + 5 * minutes })).toBe("verified");
    expect(await outcome(kind, vector, { atMs: vector.atMs + 5 * minutes + 1 })).toBe("too-old");
    expect(await outcome(kind, vector, { atMs: vector.atMs - 5 * minutes })).toBe("verified");
    expect(await outcome(kind, vector, { atMs: vector.atMs - 5 * minutes - 1 })).toBe("too-far-ahead");
  });

  it.each(["", "1531420618.0", "0x5b479b4a", "1e9", "-1", "+1531420618", "99999999999999", " 1531420618x"])("is refused as %j", async (timestamp) => {
    const headers = { "x-slack-request-timestamp": timestamp };
    expect(["timestamp-malformed", "timestamp-missing"]).toContain(await outcome("slack", SLACK, { headers }));
  });

  it("can not be changed without the secret", async () => {
    const seconds = Math.floor(NOW_MS / 1000);
    expect(await outcome("slack", SLACK, { headers: { "x-slack-request-timestamp": String(seconds) }, atMs: NOW_MS })).toBe("signature-mismatch");
    expect(await outcome("standard-webhooks", STANDARD, { headers: { "webhook-timestamp": String(seconds) }, atMs: NOW_MS })).toBe("signature-mismatch");
    const later = STRIPE.headers["stripe-signature"]?.replace(`t=${seconds}`, `t=${seconds + 1}`);
    expect(await outcome("stripe", STRIPE, { headers: { "stripe-signature": later } })).toBe("signature-mismatch");
  });

  it("of Stripe comes once: with two there would be two readings", async () => {
    const seconds = Math.floor(NOW_MS / 1000);
    const headers = { "stripe-signature": `t=1,${STRIPE.headers["stripe-signature"]}` };
    expect(await outcome("stripe", STRIPE, { headers })).toBe("timestamp-malformed");
    expect(seconds).toBeGreaterThan(1);
  });
});

describe("several signatures in one header", () => {
  const other = "00".repeat(32);

  it("are enough when one is right, while the sender changes its secret", async () => {
    const stripeSignature = STRIPE.headers["stripe-signature"]?.replace(",v1=", `,v1=${other},v1=`);
    expect(await outcome("stripe", STRIPE, { headers: { "stripe-signature": stripeSignature } })).toBe("verified");
    const standardSignature = `v1,${btoa("x".repeat(32))} v2,ignored v1a,${btoa("y".repeat(64))} ${STANDARD.headers["webhook-signature"]}`;
    expect(await outcome("standard-webhooks", STANDARD, { headers: { "webhook-signature": standardSignature } })).toBe("verified");
  });

  it("are bounded, for each is a hash of the whole body", async () => {
    const many = `t=${Math.floor(NOW_MS / 1000)}${`,v1=${other}`.repeat(6)}`;
    expect(await outcome("stripe", STRIPE, { headers: { "stripe-signature": many } })).toBe("too-many-signatures");
  });

  it("of a scheme that is not `v1` count for nothing", async () => {
    const downgraded = STRIPE.headers["stripe-signature"]?.replace("v1=", "v0=");
    expect(await outcome("stripe", STRIPE, { headers: { "stripe-signature": downgraded } })).toBe("signature-missing");
    expect(await outcome("standard-webhooks", STANDARD, { headers: { "webhook-signature": STANDARD.headers["webhook-signature"]?.replace("v1,", "v2,") } })).toBe("signature-missing");
  });

  it("are read in their one spelling: base64 with stray bits or without padding is refused", async () => {
    const signature = STANDARD.headers["webhook-signature"] ?? "";
    for (const spelled of [signature.replace(/E=$/, "F="), signature.replace(/=$/, "")]) {
      expect(await outcome("standard-webhooks", STANDARD, { headers: { "webhook-signature": spelled } })).toBe("signature-malformed");
    }
  });
});

describe("GitHub's older SHA-1 signature", () => {
  it("does not stand in for the SHA-256 one", async () => {
    const headers = { "x-hub-signature-256": undefined, "x-hub-signature": `sha1=${hmac(GITHUB.secret, GITHUB.body, "hex", "sha1")}` };
    expect(await outcome("github", GITHUB, { headers })).toBe("signature-missing");
    expect(await outcome("github", GITHUB, { headers: { "x-hub-signature-256": headers["x-hub-signature"] } })).toBe("signature-malformed");
  });
});

describe("the id of a delivery", () => {
  it.each([undefined, "", "a b", "é", "x".repeat(257)])("is refused as %j where the sender always gives one", async (id) => {
    expect(["id-missing", "id-malformed"]).toContain(await outcome("github", GITHUB, { headers: { "x-github-delivery": id } }));
  });

  it("can not be changed where it is signed", async () => {
    expect(await outcome("standard-webhooks", STANDARD, { headers: { "webhook-id": "msg_other" } })).toBe("signature-mismatch");
  });

  it("can not move the border between id and time", async () => {
    const secret = `whsec_${btoa("x".repeat(32))}`;
    const vector = standard(secret, "1.body", "a", NOW_MS);
    expect(await outcome("standard-webhooks", vector)).toBe("verified");
    const seconds = vector.headers["webhook-timestamp"] ?? "";
    const headers = { "webhook-id": `a.${seconds}`, "webhook-timestamp": "1" };
    expect(await outcome("standard-webhooks", vector, { headers, body: "body", atMs: 1000 })).toBe("id-malformed");
  });
});

describe("a sender described by `hmac`", () => {
  const scheme: HmacScheme = {
    signatureHeader: "x-signature", algorithm: "sha512", encoding: "base64", prefix: "v=", content: "{id}|{timestamp}|{body}|end",
    timestampHeader: "x-time", toleranceSeconds: 30, idHeader: "x-id", eventHeader: null, secretEncoding: "hex",
  };
  const secret = "00112233445566778899aabbccddeeff0011";
  const seconds = String(NOW_MS / 1000);
  const vector: Vector = {
    secret, body: "{body}{id}$&", atMs: NOW_MS,
    headers: { "x-id": "7", "x-time": seconds, "x-signature": `v=${hmac(Buffer.from(secret, "hex"), `7|${seconds}|{body}{id}$&|end`, "base64", "sha512")}` },
  };

  it("is verified over its template, in which the body is what it is", async () => {
    expect(await outcome("hmac", vector, {}, scheme)).toBe("verified");
    expect(await outcome("hmac", vector, { headers: { "x-id": "8" } }, scheme)).toBe("signature-mismatch");
    expect(await outcome("hmac", vector, { atMs: NOW_MS + 31_000 }, scheme)).toBe("too-old");
    expect(await outcome("hmac", vector, { headers: { "x-signature": vector.headers["x-signature"]?.slice(2) } }, scheme)).toBe("signature-malformed");
  });

  it.each(["sha1", "sha256", "sha512"] as const)("may use %s", async (algorithm) => {
    const plain = { ...scheme, algorithm, content: "{body}", timestampHeader: null, idHeader: null, prefix: "", encoding: "hex", secretEncoding: "utf8" } as const;
    const headers = { "x-signature": hmac("a secret of sixteen", "x", "hex", algorithm).toUpperCase() };
    expect(await outcome("hmac", { secret: "a secret of sixteen", body: "x", headers, atMs: NOW_MS }, {}, plain)).toBe("verified");
  });

  it.each<[string, Partial<HmacScheme>, string]>([
    ["no body", { content: "{timestamp}{id}" }, "content"],
    ["the body twice", { content: "{timestamp}{id}{body}{body}" }, "content"],
    ["a placeholder that is none", { content: "{timestamp}{id}{body}{url}" }, "content"],
    ["a time that is not signed", { content: "{id}{body}" }, "content"],
    ["a signed time that comes in no header", { timestampHeader: null }, "content"],
    ["a signed id that comes in no header", { idHeader: null }, "content"],
    ["a header that is none", { signatureHeader: "x signature" }, "signatureHeader"],
  ])("is refused with %s", (_what, change, field) => {
    expect(schemeFaults({ ...scheme, ...change }).map((fault) => fault.field)).toContain(field);
  });

  it("is accepted as it is here", () => {
    expect(schemeFaults(scheme)).toEqual([]);
  });
});

describe("the secret of a source", () => {
  it.each<[WebhookKind, string]>([
    ["github", "too short"], ["stripe", ""], ["slack", "x".repeat(513)], ["shopify", `\ud800${"x".repeat(20)}`],
    ["standard-webhooks", "It's a Secret to Everybody"], ["standard-webhooks", "whsec_short"],
  ])("of %s may not be %j", (kind, secret) => {
    expect(secretBytes(kind, null, secret)).toBeNull();
  });

  it("that can not be read is not repeated by the error", async () => {
    await expect(importVerifyingKey("standard-webhooks", null, "canary-of-this-test")).rejects.toThrow(/^not a secret of this kind of source$/);
  });

  it("of Stripe is the whole text, `whsec_` included", () => {
    expect(secretBytes("stripe", null, "whsec_of_stripe_as_it_is_shown")).toEqual(new TextEncoder().encode("whsec_of_stripe_as_it_is_shown"));
  });
});

describe("Slack's events", () => {
  it("are verified whatever bytes they are of", async () => {
    await fc.assert(fc.asyncProperty(fc.string({ unit: "grapheme" }), async (body) => {
      expect(await outcome("slack", slack(SLACK.secret, body, NOW_MS))).toBe("verified");
    }), { numRuns: 50 });
  });
});
