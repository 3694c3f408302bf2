import { describe, expect, it } from "vitest";
import { generateSigningSecret, importSigningKey, parseSigningSecret } from "../../../src/delivery/signing-secret.ts";
import { webhookSignature } from "../../../src/delivery/sign.ts";

const encoded = (byteCount: number) => Buffer.alloc(byteCount, 0xfb).toString("base64");

describe("parseSigningSecret", () => {
  it.each([24, 25, 32, 63, 64])("takes %i bytes", (byteCount) => {
    expect(parseSigningSecret(`whsec_${encoded(byteCount)}`)).toEqual(new Uint8Array(byteCount).fill(0xfb));
  });

  it.each([
    ["too few bytes", `whsec_${encoded(23)}`],
    ["too many bytes", `whsec_${encoded(65)}`],
    ["no prefix", encoded(32)],
    ["another prefix", `whsk_${encoded(32)}`],
    ["no padding", `whsec_${encoded(32).replace("=", "")}`],
    ["base64url", `whsec_${encoded(24).replaceAll("+", "-").replaceAll("/", "_")}`],
    ["bits beyond the last byte", `whsec_${"A".repeat(42)}B=`],
    ["white space", `whsec_ ${encoded(24)}`],
    ["nothing", "whsec_"],
  ])("refuses a secret with %s", (_name, text) => {
    expect(parseSigningSecret(text)).toBeNull();
  });
});

describe("generateSigningSecret", () => {
  it("makes a secret of 32 bytes that parses, from the bytes it is given", () => {
    const secret = generateSigningSecret((bytes) => bytes.fill(7));
    expect(parseSigningSecret(secret)).toEqual(new Uint8Array(32).fill(7));
  });

  it("makes another one every time", () => {
    expect(generateSigningSecret()).not.toBe(generateSigningSecret());
  });
});

describe("importSigningKey", () => {
  it("signs the golden vector of Standard Webhooks", async () => {
    const key = await importSigningKey("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
    const body = new TextEncoder().encode('{"test": 2432232314}');
    const signature = await webhookSignature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, [key]);
    expect(signature).toBe("v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
  });

  it("does not repeat what it can not read", async () => {
    await expect(importSigningKey("whsec_hunter2")).rejects.toThrow(/^not a signing secret$/);
  });
});
