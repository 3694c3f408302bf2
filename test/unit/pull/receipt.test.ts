import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { RingKey } from "../../../src/crypto/keyring.ts";
import { openReceipt, type ReceiptContent, sealReceipt } from "../../../src/mailbox/receipt.ts";

const KEY: RingKey = { id: "k1", key: new Uint8Array(32).fill(1) };
/** As another isolate has it, which did not make the receipt and checks it. */
const KEY_ELSEWHERE: RingKey = { ...KEY };
const OTHER_KEY: RingKey = { id: "k1", key: new Uint8Array(32).fill(2) };
const NEXT_KEY: RingKey = { id: "k2", key: new Uint8Array(32).fill(3) };
const CONTENT: ReceiptContent = { kind: "endpoint", id: "ep_one", handle: "AQEB+/=handle.of" };

const BASE64URL = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

describe("a receipt", () => {
  it("opens to what was put in, whatever the handle is made of", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string({ unit: "binary", maxLength: 500 }), fc.constantFrom("endpoint", "queue"), async (handle, kind) => {
        const content = { kind, id: "billing.eu", handle };
        const receipt = await sealReceipt([KEY], "ten_a", content);
        expect(await openReceipt([KEY], "ten_a", receipt)).toEqual({ ok: true, ...content });
        expect(await openReceipt([KEY_ELSEWHERE], "ten_a", receipt)).toEqual({ ok: true, ...content });
        expect(await openReceipt([KEY_ELSEWHERE], "ten_b", receipt)).toEqual({ ok: false, reason: "forged" });
      }),
      { numRuns: 50 },
    );
  });

  it("needs no escaping in a URL", async () => {
    const receipt = await sealReceipt([KEY], "ten_a", { ...CONTENT, handle: "a/b+c=?#&%ü" });
    expect(encodeURIComponent(receipt)).toBe(receipt);
  });

  it("is forged when any character of it is another, of whatever part", async () => {
    const receipt = await sealReceipt([KEY], "ten_a", CONTENT);
    for (let index = 0; index < receipt.length; index++) {
      const original = receipt.charAt(index);
      if (original === ".") continue;
      const next = BASE64URL.charAt((BASE64URL.indexOf(original) + 1) % BASE64URL.length);
      const changed = receipt.slice(0, index) + next + receipt.slice(index + 1);
      expect(await openReceipt([KEY], "ten_a", changed), changed).toEqual({ ok: false, reason: "forged" });
      expect(await openReceipt([KEY_ELSEWHERE], "ten_a", changed), changed).toEqual({ ok: false, reason: "forged" });
    }
  });

  it("is forged for every tenant but its own, and under a ring without its key", async () => {
    const receipt = await sealReceipt([KEY], "ten_a", CONTENT);
    expect(await openReceipt([KEY], "ten_b", receipt)).toEqual({ ok: false, reason: "forged" });
    expect(await openReceipt([KEY], "ten_a\n", receipt)).toEqual({ ok: false, reason: "forged" });
    expect(await openReceipt([OTHER_KEY], "ten_a", receipt)).toEqual({ ok: false, reason: "forged" });
    expect(await openReceipt([NEXT_KEY], "ten_a", receipt)).toEqual({ ok: false, reason: "forged" });
  });

  it("is forged when the content of one carries the MAC of another", async () => {
    const one = (await sealReceipt([KEY], "ten_a", CONTENT)).split(".");
    const two = (await sealReceipt([KEY], "ten_a", { ...CONTENT, id: "ep_two" })).split(".");
    expect(await openReceipt([KEY], "ten_a", [one[0], two[1], one[2]].join("."))).toEqual({ ok: false, reason: "forged" });
  });

  it("still opens when the ring has a newer key in front", async () => {
    const receipt = await sealReceipt([KEY], "ten_a", CONTENT);
    expect(await openReceipt([NEXT_KEY, KEY], "ten_a", receipt)).toEqual({ ok: true, ...CONTENT });
    expect(await openReceipt([NEXT_KEY, KEY_ELSEWHERE], "ten_a", receipt)).toEqual({ ok: true, ...CONTENT });
  });

  it("is malformed when it is something else altogether", async () => {
    const receipt = await sealReceipt([KEY], "ten_a", CONTENT);
    for (const text of ["", " ", "..", "receipt", `${receipt}=`, ` ${receipt}`, `${receipt}\n`, receipt.replaceAll(".", ":"), "k1.x.y"]) {
      expect(await openReceipt([KEY], "ten_a", text), text).toEqual({ ok: false, reason: "malformed" });
    }
    const long = `k1.${"a".repeat(5000)}.${"a".repeat(22)}`;
    expect(await openReceipt([KEY], "ten_a", long)).toEqual({ ok: false, reason: "malformed" });
  });

  it("is refused and never thrown at, whatever text it is", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(
          fc.string({ unit: "binary" }),
          fc.tuple(fc.constantFrom("k1", "k9"), fc.stringMatching(/^[A-Za-z0-9_-]{1,60}$/), fc.stringMatching(/^[A-Za-z0-9_-]{22}$/)).map((parts) => parts.join(".")),
        ),
        async (text) => {
          expect((await openReceipt([KEY], "ten_a", text)).ok).toBe(false);
        },
      ),
      { numRuns: 300 },
    );
  });
});
