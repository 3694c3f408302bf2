import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { verifyWebhook, type WebhookFailure, type WebhookRequest, WebhookVerificationError } from "../../../src/client/index.ts";

/** The golden vector of the contract (DESIGN §4). */
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const OTHER_SECRET = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
const BODY = '{"test": 2432232314}';
const NOW = new Date(1_614_265_330_000);
const SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
const HEADERS = {
  "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
  "webhook-timestamp": "1614265330",
  "webhook-signature": SIGNATURE,
};
const GOLDEN = { secret: SECRET, headers: HEADERS, body: BODY, now: NOW };
const VERIFIED = { id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: 1_614_265_330 };

/** What of the golden request is another. */
type Changes = Partial<Extract<WebhookRequest, { readonly secret: string }>>;

async function reasonOf(request: WebhookRequest): Promise<WebhookFailure> {
  try {
    await verifyWebhook(request);
  } catch (error) {
    if (error instanceof WebhookVerificationError) return error.reason;
    throw error;
  }
  throw new Error("it was accepted");
}

function signed(secret: string, body: Uint8Array, at: Date): Record<string, string> {
  // The library signs text; these bytes are ASCII.
  const signature = new Webhook(secret).sign("msg_1", at, new TextDecoder().decode(body));
  return { "webhook-id": "msg_1", "webhook-timestamp": String(Math.floor(at.getTime() / 1000)), "webhook-signature": signature };
}

describe("verifyWebhook accepts", () => {
  it("the golden vector", async () => {
    expect(await verifyWebhook(GOLDEN)).toEqual(VERIFIED);
  });

  it.each<[string, Changes]>([
    ["bytes", { body: new TextEncoder().encode(BODY) }],
    ["an ArrayBuffer", { body: Uint8Array.from(new TextEncoder().encode(BODY)).buffer }],
    ["a view into a larger buffer", { body: new TextEncoder().encode(`__${BODY}__`).subarray(2, 2 + BODY.length) }],
    ["Headers", { headers: new Headers(HEADERS) }],
    ["names in any case, as some servers pass them", { headers: { "Webhook-Id": HEADERS["webhook-id"], "Webhook-Timestamp": "1614265330", "WEBHOOK-SIGNATURE": [SIGNATURE] } }],
    ["a secret without its prefix", { secret: SECRET.slice("whsec_".length) }],
    ["one of several signatures", { headers: { ...HEADERS, "webhook-signature": `v1,${"A".repeat(43)}= v1a,zzz ${SIGNATURE}` } }],
  ])("%s", async (_what, given) => {
    expect(await verifyWebhook({ ...GOLDEN, ...given })).toEqual(VERIFIED);
  });

  it("either secret while one is rotated", async () => {
    for (const secrets of [[SECRET, OTHER_SECRET], [OTHER_SECRET, SECRET]]) {
      expect(await verifyWebhook({ secrets, headers: HEADERS, body: BODY, now: NOW })).toEqual(VERIFIED);
    }
  });

  it("what the official library signs, by the clock", async () => {
    const body = new TextEncoder().encode("any text");
    expect(await verifyWebhook({ secret: OTHER_SECRET, headers: signed(OTHER_SECRET, body, new Date()), body })).toMatchObject({ id: "msg_1" });
  });

  it("a body that is no text, over its raw bytes", async () => {
    const body = Uint8Array.of(0xff, 0x00, 0xc3, 0x28);
    const key = await crypto.subtle.importKey("raw", new Uint8Array(32).fill(7), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
    const bytes = new Uint8Array([...new TextEncoder().encode("msg_2.1614265330."), ...body]);
    const signature = Buffer.from(await crypto.subtle.sign("HMAC", key, bytes)).toString("base64");
    const headers = { "webhook-id": "msg_2", "webhook-timestamp": "1614265330", "webhook-signature": `v1,${signature}` };
    const secret = `whsec_${Buffer.alloc(32, 7).toString("base64")}`;
    expect(await verifyWebhook({ secret, headers, body, now: NOW })).toMatchObject({ id: "msg_2" });
    expect(await reasonOf({ secret, headers, body: new TextDecoder().decode(body), now: NOW })).toBe("no-matching-signature");
  });

  it("a time at either end of the tolerance", async () => {
    for (const seconds of [-300, 300]) {
      expect(await verifyWebhook({ ...GOLDEN, now: new Date(NOW.getTime() + seconds * 1000) })).toEqual(VERIFIED);
    }
  });
});

describe("verifyWebhook refuses", () => {
  it.each<[string, WebhookFailure, Changes]>([
    ["another body", "no-matching-signature", { body: `${BODY} ` }],
    ["another secret", "no-matching-signature", { secret: OTHER_SECRET }],
    ["another id", "no-matching-signature", { headers: { ...HEADERS, "webhook-id": "msg_other" } }],
    ["another time", "no-matching-signature", { headers: { ...HEADERS, "webhook-timestamp": "1614265331" } }],
    ["a time written in another way", "no-matching-signature", { headers: { ...HEADERS, "webhook-timestamp": "01614265330" } }],
    ["the right signature of another scheme", "malformed-header", { headers: { ...HEADERS, "webhook-signature": SIGNATURE.replace("v1,", "v1a,") } }],
    ["a signature without a scheme", "malformed-header", { headers: { ...HEADERS, "webhook-signature": SIGNATURE.slice(3) } }],
    ["a signature cut short", "malformed-header", { headers: { ...HEADERS, "webhook-signature": "v1,g0hM9SsE" } }],
    ["a time that is no number", "malformed-header", { headers: { ...HEADERS, "webhook-timestamp": "1e9" } }],
    ["a negative time", "malformed-header", { headers: { ...HEADERS, "webhook-timestamp": "-1614265330" } }],
    ["no id", "missing-header", { headers: { ...HEADERS, "webhook-id": undefined } }],
    ["an empty id", "missing-header", { headers: { ...HEADERS, "webhook-id": "" } }],
    ["no time", "missing-header", { headers: { ...HEADERS, "webhook-timestamp": undefined } }],
    ["no signature", "missing-header", { headers: { ...HEADERS, "webhook-signature": undefined } }],
    ["two ids", "missing-header", { headers: { ...HEADERS, "webhook-id": ["a", "b"] } }],
    ["what is older than the tolerance", "too-old", { now: new Date(NOW.getTime() + 300_001) }],
    ["what is further ahead than the tolerance", "too-new", { now: new Date(NOW.getTime() - 300_001) }],
    ["what is older than a tolerance of its own", "too-old", { toleranceSeconds: 5, now: new Date(NOW.getTime() + 6000) }],
  ])("%s", async (_what, reason, given) => {
    expect(await reasonOf({ ...GOLDEN, ...given })).toBe(reason);
  });

  it("every change of one bit of the signature", async () => {
    const bytes = Buffer.from(SIGNATURE.slice(3), "base64");
    for (let bit = 0; bit < bytes.length * 8; bit += 13) {
      const changed = Buffer.from(bytes);
      changed[bit >> 3]! ^= 1 << (bit & 7);
      const headers = { ...HEADERS, "webhook-signature": `v1,${changed.toString("base64")}` };
      expect(await reasonOf({ ...GOLDEN, headers })).toBe("no-matching-signature");
    }
  });

  it("everything when there is no secret", async () => {
    expect(await reasonOf({ secrets: [], headers: HEADERS, body: BODY, now: NOW })).toBe("no-matching-signature");
  });

  it("a secret that is none, as the mistake it is", async () => {
    for (const secret of ["", "whsec_", "whsec_not base 64!"]) {
      await expect(verifyWebhook({ ...GOLDEN, secret })).rejects.toThrow(TypeError);
    }
  });
});
