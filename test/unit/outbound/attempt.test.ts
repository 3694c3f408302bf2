import { describe, expect, it } from "vitest";
import { attemptDelivery } from "../../../src/delivery/attempt.ts";
import { createDnsGuard } from "../../../src/delivery/dns-guard.ts";
import { verdictOf } from "../../../src/delivery/verdict.ts";
import { endpoint, MESSAGE, NOW_MS, world } from "./world.ts";

const ENDLESS = Symbol("no address");

/** A world whose names all have these addresses at this moment. */
function resolving(addresses: () => readonly string[] | typeof ENDLESS) {
  const dns = createDnsGuard("https://resolver.example.net/", {
    now: () => NOW_MS,
    fetch: async (href) => {
      const now = addresses();
      if (now === ENDLESS) return new Response("", { status: 500 });
      const type = new URL(href).searchParams.get("type") === "A" ? 1 : 28;
      return Response.json({ Status: 0, Answer: now.filter((data) => data.includes(":") === (type === 28)).map((data) => ({ type, TTL: 1, data })) });
    },
  });
  return world(() => new Response(), { dns });
}

describe("an attempt", () => {
  // Addresses that got past an older guard, or into the database by another way: none is reached.
  it.each([
    "http://example.com/", "https://127.0.0.1/", "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://017700000001/",
    "https://0177.0.0.1/", "https://127.0.0.1./", "https://①②⑦.⓪.⓪.①/", "https://127。0。0。1/", "https://%31%32%37.0.0.1/", "https://0/",
    "https://10.1/", "https://172.16.0.1/", "https://192.168.1/", "https://100.64.0.1/", "https://169.254.169.254/latest/meta-data/",
    "https://2852039166/", "https://0xa9fea9fe/", "https://100.100.100.200/", "https://168.63.129.16/", "https://192.0.0.192/",
    "https://224.0.0.1/", "https://255.255.255.255/", "https://198.18.0.1/", "https://[::]/", "https://[::1]/", "https://[::ffff:127.0.0.1]/",
    "https://[::ffff:a9fe:a9fe]/", "https://[::127.0.0.1]/", "https://[64:ff9b::a9fe:a9fe]/", "https://[64:ff9b:1::1]/", "https://[2002:7f00:1::]/",
    "https://[2001:0:4136:e378:8000:63bf:3fff:fdd2]/", "https://[fd00:ec2::254]/", "https://[fe80::1]/", "https://[fec0::1]/", "https://[ff02::1]/",
    "https://[2001:db8::1]/", "https://localhost/", "https://LOCALHOST./", "https://ｌｏｃａｌｈｏｓｔ/", "https://app.localhost/", "https://printer.local/",
    "https://metadata.google.internal/", "https://metadata/", "https://router.home.arpa/", "https://127.0.0.1.nip.io/", "https://localtest.me/",
    "https://user:pass@example.com/", "https://example.com@127.0.0.1/", "https://example.com:0/", "https://exa\tmple.com/", " https://example.com/",
    "file:///etc/passwd", "ftp://example.com/", "javascript:alert(1)", "", "https://", "//example.com",
  ])("to %j sends nothing, and is refused", async (url) => {
    const at = world(() => new Response());
    const report = await attemptDelivery(await endpoint({ url }), MESSAGE, "t", 1, at);
    expect(report).toMatchObject({ succeeded: false, record: { statusCode: null, error: { code: "address-refused" } } });
    expect(at.sent).toEqual([]);
  });

  it("requests the URL that was checked, in its canonical form", async () => {
    const at = world(() => new Response());
    await attemptDelivery(await endpoint({ url: "HTTPS://Example.COM:443/a/../b#fragment" }), MESSAGE, "t", 1, at);
    expect(at.sent.map(({ url }) => url)).toEqual(["https://example.com/b"]);
  });

  it("to a name that resolves to a private address sends nothing", async () => {
    for (const addresses of [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["93.184.216.34", "fd00::1"], []]) {
      const at = resolving(() => addresses);
      const report = await attemptDelivery(await endpoint(), MESSAGE, "t", 1, at);
      expect(report.record.error?.code).toBe("address-refused");
      expect(at.sent).toEqual([]);
    }
  });

  it("to a name that resolves to public addresses is made", async () => {
    const at = resolving(() => ["93.184.216.34", "2606:4700:4700::1111"]);
    expect((await attemptDelivery(await endpoint(), MESSAGE, "t", 1, at)).succeeded).toBe(true);
    expect(at.sent).toHaveLength(1);
  });

  it("fails while the resolver is out, sends nothing, and is made again", async () => {
    const at = resolving(() => ENDLESS);
    const to = await endpoint();
    const report = await attemptDelivery(to, MESSAGE, "t", 1, at);
    expect(report.record.error?.code).toBe("address-unresolved");
    expect(at.sent).toEqual([]);
    expect(verdictOf({ endpoint: to, claim: { attemptNumber: 1 }, others: 0 }, report, NOW_MS, 0.5)).toEqual({
      status: "open", nextAttemptAtMs: NOW_MS + 5_000, counted: true,
    });
  });
});
