import { createPublicKey, verify } from "node:crypto";
import { describe, expect, it } from "vitest";
import { logLine } from "../../../../src/log.ts";
import { signWake, wakeJwks } from "../../../../src/streams/subscriptions/wake-signature.ts";
import { makeWakeToken, openWakeToken } from "../../../../src/streams/subscriptions/wake-token.ts";

const OLD = { id: "old", key: new Uint8Array(32).fill(1) };
const NEW = { id: "new", key: new Uint8Array(32).fill(2) };
const GRANT = { tenantId: "acme", id: "sub-1", wakeId: "w_1", generation: 7 };

describe("the token of a wake", () => {
  it("says what it is for, under any key of the ring", async () => {
    const token = await makeWakeToken([OLD], GRANT);
    expect(await openWakeToken([OLD], token)).toEqual(GRANT);
    expect(await openWakeToken([NEW, OLD], token)).toEqual(GRANT);
    expect(await openWakeToken([NEW], token)).toBeNull();
  });

  it("is none once a character of it was changed", async () => {
    const token = await makeWakeToken([OLD], GRANT);
    for (let index = 0; index < token.length; index++) {
      const other = token[index] === "A" ? "B" : "A";
      const opened = await openWakeToken([OLD], token.slice(0, index) + other + token.slice(index + 1));
      // the last character may hold bits of no byte
      if (index < token.length - 1) expect([index, opened]).toEqual([index, null]);
    }
    for (const none of ["", "pst_wake_", "pst_wake_!", "pst_abc", `${token}AAAA`]) expect(await openWakeToken([OLD], none)).toBeNull();
  });

  it("is masked in the log", async () => {
    const token = await makeWakeToken([OLD], GRANT);
    expect(logLine("info", `got ${token}`, { detail: token }, 0)).not.toContain(token.slice(9, 30));
  });
});

describe("the signature of a wake", () => {
  async function isGood(header: string, body: string, keys: Awaited<ReturnType<typeof wakeJwks>>): Promise<boolean> {
    const [, timestamp, kid, signature = ""] = /^t=(\d+),kid=([^,]+),ed25519=([\w-]+)$/.exec(header) ?? [];
    const jwk = keys.find((key) => key.kid === kid);
    if (jwk === undefined) return false;
    return verify(null, Buffer.from(`${timestamp}.${body}`), createPublicKey({ key: { ...jwk }, format: "jwk" }), Buffer.from(signature, "base64url"));
  }

  it("is good for its bytes and its tenant alone, before and after the key ring was changed", async () => {
    const header = await signWake([OLD], "acme", "body é", 1_700_000_000_999);
    expect(header).toMatch(/^t=1700000000,kid=ds_[\w-]{43},ed25519=[\w-]{86}$/);
    expect(await isGood(header, "body é", await wakeJwks([OLD], "acme"))).toBe(true);
    expect(await isGood(header, "body é", await wakeJwks([NEW, OLD], "acme"))).toBe(true);
    expect(await isGood(header, "other", await wakeJwks([OLD], "acme"))).toBe(false);
    expect(await isGood(header, "body é", await wakeJwks([OLD], "other"))).toBe(false);
    expect((await wakeJwks([NEW, OLD], "acme"))[1]).toEqual((await wakeJwks([OLD], "acme"))[0]);
  });
});
