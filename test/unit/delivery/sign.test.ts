import { Webhook } from "standardwebhooks";
import { describe, expect, it } from "vitest";
import { webhookSignature } from "../../../src/delivery/sign.ts";

const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

async function keyOf(secret: string): Promise<CryptoKey> {
  const bytes = Uint8Array.from(atob(secret.slice("whsec_".length)), (character) => character.charCodeAt(0));
  return crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
}

describe("the webhook signature", () => {
  it("is the golden vector of Standard Webhooks", async () => {
    const body = new TextEncoder().encode('{"test": 2432232314}');
    const signature = await webhookSignature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [await keyOf(SECRET)]);
    expect(signature).toBe("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  it("verifies with the standardwebhooks library under each key of a rotation", async () => {
    const other = `whsec_${btoa("another secret of 32 bytes, yes!")}`;
    const timestamp = Math.floor(Date.now() / 1000);
    const body = '{"a":1,"a":2,"n":1.000}';
    const keys = [await keyOf(SECRET), await keyOf(other)];
    const signature = await webhookSignature("msg_1", timestamp, new TextEncoder().encode(body), keys);
    const headers = { "webhook-id": "msg_1", "webhook-timestamp": String(timestamp), "webhook-signature": signature };
    expect(() => new Webhook(SECRET).verify(body, headers)).not.toThrow();
    expect(() => new Webhook(other).verify(body, headers)).not.toThrow();
    expect(() => new Webhook(SECRET).verify(`${body} `, headers)).toThrow();
  });
});
