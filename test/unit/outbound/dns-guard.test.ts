import { describe, expect, it } from "vitest";
import { createDnsGuard, type NameCheck } from "../../../src/delivery/dns-guard.ts";

const DOH_URL = "https://resolver.example.net/dns-query?keep=1";
const OPTIONS = { allowHosts: new Set<string>(), allowHttp: false };

type Records = { readonly A?: readonly string[]; readonly AAAA?: readonly string[] };

/** A guard whose resolver answers as told; `asked` has every question. */
function guardOf(answer: (name: string, type: "A" | "AAAA") => Response, clock = { nowMs: 0 }) {
  const asked: string[] = [];
  const guard = createDnsGuard(DOH_URL, {
    now: () => clock.nowMs,
    fetch: async (href, init) => {
      const url = new URL(href);
      expect([url.origin + url.pathname, url.searchParams.get("keep"), init.redirect]).toEqual(["https://resolver.example.net/dns-query", "1", "manual"]);
      expect(new Headers(init.headers).get("accept")).toBe("application/dns-json");
      const [name, type] = [url.searchParams.get("name") ?? "", url.searchParams.get("type") === "A" ? ("A" as const) : ("AAAA" as const)];
      asked.push(`${name} ${type}`);
      return answer(name, type);
    },
  });
  return { guard, asked };
}

function found(records: Records, ttl = 300): (name: string, type: "A" | "AAAA") => Response {
  return (name, type) => {
    const alias = { name, type: 5, TTL: ttl, data: "alias.example.net." };
    const answers = (records[type] ?? []).map((data) => ({ name, type: type === "A" ? 1 : 28, TTL: ttl, data }));
    return Response.json({ Status: 0, TC: false, Answer: [alias, ...answers] });
  };
}

async function outcome(answer: (name: string, type: "A" | "AAAA") => Response, url = "https://hooks.example.com/a"): Promise<string> {
  const check: NameCheck = await guardOf(answer).guard.check(new URL(url), OPTIONS);
  if (!check.ok) expect(check.detail).toMatch(/^The .*\.$/);
  return check.ok ? "public" : check.reason;
}

describe("a name", () => {
  it.each<[string, Records]>([
    ["IPv4", { A: ["93.184.216.34"] }],
    ["IPv6", { AAAA: ["2606:2800:220:1:248:1893:25c8:1946"] }],
    ["both", { A: ["93.184.216.34", "1.1.1.1"], AAAA: ["2606:4700:4700::1111"] }],
  ])("passes when all its addresses are public: %s", async (_what, records) => {
    expect(await outcome(found(records))).toBe("public");
  });

  it.each<[string, Records]>([
    ["loopback", { A: ["127.0.0.1"] }],
    ["metadata", { A: ["169.254.169.254"] }],
    ["one private among public ones", { A: ["93.184.216.34", "10.0.0.7", "1.1.1.1"] }],
    ["a private IPv6 beside a public IPv4", { A: ["93.184.216.34"], AAAA: ["fd00::1"] }],
    ["a private IPv4 beside a public IPv6", { A: ["192.168.0.1"], AAAA: ["2606:4700:4700::1111"] }],
    ["IPv6 loopback", { AAAA: ["::1"] }],
    ["IPv4-mapped loopback", { AAAA: ["::ffff:127.0.0.1"] }],
    ["NAT64 of a private address", { AAAA: ["64:ff9b::10.0.0.1"] }],
    ["what is no address at all", { A: ["not an address"] }],
  ])("is refused when any of its addresses is not public: %s", async (_what, records) => {
    expect(await outcome(found(records))).toBe("not-public");
  });

  it("does not say which address it was", async () => {
    const check = await guardOf(found({ A: ["10.20.30.40"] })).guard.check(new URL("https://hooks.example.com"), OPTIONS);
    expect(JSON.stringify(check)).not.toContain("10.20.30.40");
  });

  it.each<[string, (name: string, type: "A" | "AAAA") => Response]>([
    ["no records", found({})],
    ["no such name", () => Response.json({ Status: 3 })],
    ["an alias that leads nowhere", () => Response.json({ Status: 0, Answer: [{ type: 5, TTL: 1, data: "gone.example." }] })],
  ])("is refused without an address: %s", async (_what, answer) => {
    expect(await outcome(answer)).toBe("no-address");
  });

  it.each<[string, () => Response]>([
    ["SERVFAIL", () => Response.json({ Status: 2 })],
    ["REFUSED", () => Response.json({ Status: 5 })],
    ["500", () => new Response("", { status: 500 })],
    ["a redirect", () => new Response(null, { status: 302, headers: { location: "https://elsewhere.example" } })],
    ["no JSON", () => new Response("<html>")],
    ["JSON of another form", () => Response.json({ status: 0 })],
    ["an endless answer", () => new Response("x".repeat(70_000))],
    ["no connection", () => { throw new Error("Network connection lost."); }],
  ])("is never let through by an outage of the resolver: %s", async (_what, broken) => {
    expect(await outcome(broken)).toBe("unresolved");
    const half = (name: string, type: "A" | "AAAA") => (type === "A" ? found({ A: ["93.184.216.34"] })(name, type) : broken());
    expect(await outcome(half)).toBe("unresolved");
  });
});

describe("what is not asked for", () => {
  it.each(["https://93.184.216.34/", "https://[2606:4700:4700::1111]/"])("an address in the URL: %s", async (url) => {
    const { guard, asked } = guardOf(found({ A: ["127.0.0.1"] }));
    expect(await guard.check(new URL(url), OPTIONS)).toEqual({ ok: true });
    expect(asked).toEqual([]);
  });

  it("a host that development allows, and nothing but its exact host and port", async () => {
    const { guard, asked } = guardOf(found({ A: ["127.0.0.1"] }));
    const options = { ...OPTIONS, allowHosts: new Set(["hooks.example.com:8443"]) };
    expect(await guard.check(new URL("https://hooks.example.com:8443/"), options)).toEqual({ ok: true });
    expect(asked).toEqual([]);
    expect(await guard.check(new URL("https://hooks.example.com/"), options)).toMatchObject({ ok: false });
  });
});

describe("what was answered", () => {
  it("is believed for its TTL and at most a minute, and then asked again: a name that moves is caught", async () => {
    const clock = { nowMs: 1_000_000 };
    let records: Records = { A: ["93.184.216.34"] };
    const { guard, asked } = guardOf((name, type) => found(records, 3600)(name, type), clock);
    const check = async () => (await guard.check(new URL("https://hooks.example.com./"), OPTIONS)).ok;
    expect([await check(), await check(), asked.length]).toEqual([true, true, 2]);
    records = { A: ["10.0.0.1"] };
    clock.nowMs += 59_999;
    expect(await check()).toBe(true);
    clock.nowMs += 1;
    expect([await check(), asked.length]).toEqual([false, 4]);
    expect(asked).toEqual(["hooks.example.com A", "hooks.example.com AAAA", "hooks.example.com A", "hooks.example.com AAAA"]);
  });

  it("with a short TTL is asked again sooner, and an outage after a second", async () => {
    const clock = { nowMs: 0 };
    let broken = true;
    const { guard, asked } = guardOf((name, type) => (broken ? new Response("", { status: 503 }) : found({ A: ["1.1.1.1"] }, 5)(name, type)), clock);
    const check = async () => (await guard.check(new URL("https://hooks.example.com"), OPTIONS)).ok;
    expect([await check(), await check(), asked.length]).toEqual([false, false, 2]);
    broken = false;
    clock.nowMs += 1_000;
    expect([await check(), asked.length]).toEqual([true, 4]);
    clock.nowMs += 5_000;
    expect([await check(), asked.length]).toEqual([true, 6]);
  });

  it("is kept of a bounded number of names", async () => {
    const { guard, asked } = guardOf(found({ A: ["1.1.1.1"] }));
    for (let index = 0; index <= 5_000; index++) await guard.check(new URL(`https://n${index}.example.com`), OPTIONS);
    await guard.check(new URL("https://n0.example.com"), OPTIONS);
    expect(asked).toHaveLength(2 * 5_002);
  });
});
