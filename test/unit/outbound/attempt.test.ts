import { describe, expect, it } from "vitest";
import { attemptDelivery } from "../../../src/delivery/attempt.ts";
import { createDnsGuard } from "../../../src/delivery/dns-guard.ts";
import { verdictOf } from "../../../src/delivery/verdict.ts";
import { ADDRESS_ZOO } from "./address-zoo.ts";
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
  it.each(ADDRESS_ZOO)("to %j sends nothing, and is refused", async (url) => {
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
