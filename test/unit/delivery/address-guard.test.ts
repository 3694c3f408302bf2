import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type AddressRefusal, checkPushUrl, isPublicAddress, MAX_URL_CHARACTERS } from "../../../src/delivery/address-guard.ts";
import { parseIpv4, parseIpv6 } from "../../../src/delivery/address-ranges.ts";

const PRODUCTION = { allowHosts: new Set<string>(), allowHttp: false };

function reason(text: string, options = PRODUCTION): AddressRefusal | "accepted" {
  const checked = checkPushUrl(text, options);
  if (!checked.ok) expect(checked.detail).toMatch(/^[A-Z].*\.$/);
  return checked.ok ? "accepted" : checked.reason;
}

function dotted(value: number): string {
  return [24, 16, 8, 0].map((shift) => (value >>> shift) & 255).join(".");
}

describe("what may be reached", () => {
  it.each([
    "https://example.com",
    "https://hooks.example.com:8443/a/b?c=d",
    "https://EXAMPLE.com./",
    "https://münchen.de/hook",
    "https://a_b.example.co.uk/",
    "https://1.1.1.1/",
    "https://172.15.255.255/",
    "https://[2606:4700:4700::1111]/",
    "https://[64:ff9b::8.8.8.8]/",
    "https://xn--bcher-kva.example.net/",
  ])("accepts %s", (text) => {
    expect(reason(text)).toBe("accepted");
  });

  it("gives the URL that is to be requested, canonical and without its fragment", () => {
    const checked = checkPushUrl("HTTPS://Example.COM:443/a/../b#secret", PRODUCTION);
    expect(checked.ok && checked.url.href).toBe("https://example.com/b");
  });
});

describe("the URL itself", () => {
  it.each<[string, AddressRefusal]>([
    ["", "malformed-url"],
    ["example.com", "malformed-url"],
    ["//example.com", "malformed-url"],
    ["https://", "malformed-url"],
    ["https://exa mple.com", "malformed-url"],
    ["https://exa\tmple.com", "malformed-url"],
    [" https://example.com", "malformed-url"],
    ["https://example.com/\n", "malformed-url"],
    ["https://example.com:99999/", "malformed-url"],
    ["https://256.1.1.1/", "malformed-url"],
    ["https://example.com\\@127.0.0.1/", "malformed-url"],
    ["https://[::1", "malformed-url"],
    ["https://[fe80::1%25eth0]/", "malformed-url"],
    ["https://[::ffff:127.0.0.1.]/", "malformed-url"],
    ["http://example.com/", "scheme-refused"],
    ["ftp://example.com/", "scheme-refused"],
    ["file:///etc/passwd", "scheme-refused"],
    ["javascript:alert(1)", "scheme-refused"],
    ["data:text/plain,x", "scheme-refused"],
    ["wss://example.com/", "scheme-refused"],
    ["blob:https://example.com/x", "scheme-refused"],
    ["https://user@example.com/", "credentials-refused"],
    ["https://user:secret@example.com/", "credentials-refused"],
    ["https://:secret@example.com/", "credentials-refused"],
    ["https://example.com@127.0.0.1/", "credentials-refused"],
    ["https://example.com:0/", "port-refused"],
    [`https://example.com/${"a".repeat(MAX_URL_CHARACTERS)}`, "url-too-long"],
  ])("refuses %j: %s", (text, expected) => {
    expect(reason(text)).toBe(expected);
  });

  it("accepts a URL of exactly the longest length", () => {
    const base = "https://example.com/";
    expect(reason(base + "a".repeat(MAX_URL_CHARACTERS - base.length))).toBe("accepted");
  });

  it("names no part of the credentials when it refuses them", () => {
    const checked = checkPushUrl("https://user:hunter2@example.com/", PRODUCTION);
    expect(JSON.stringify(checked)).not.toContain("hunter2");
  });
});

describe("every spelling of an address that is not public", () => {
  it.each([
    // loopback: decimal, octal, hexadecimal, short, mixed, with dots and other scripts' digits
    "127.0.0.1", "127.0.0.1.", "2130706433", "0x7f000001", "017700000001", "0177.0.0.1", "0x7f.0.0.1", "127.1", "127.0.1",
    "0x7F.1", "%31%32%37.0.0.1", "127%2e0%2e0%2e1", "①②⑦.⓪.⓪.①", "127。0。0。1", "１２７.0.0.1", "127.255.255.254", "00000177.0x0.0.01",
    // this network, private, shared, link local, metadata
    "0", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.1", "012.0.0.1", "172.16.0.1", "172.31.255.255", "0xac.0x10.1", "192.168.0.1",
    "3232235521", "192.168.1", "100.64.0.1", "100.127.255.255", "100.100.100.200", "169.254.169.254", "2852039166",
    "0xa9fea9fe", "0251.0376.0251.0376", "169.254.1", "192.0.0.192", "168.63.129.16",
    // documentation, benchmarking, relays, multicast, reserved
    "192.0.2.1", "198.51.100.7", "203.0.113.9", "198.18.0.1", "198.19.255.255", "192.88.99.1", "192.31.196.1", "192.52.193.1",
    "192.175.48.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "4294967295",
    // IPv6: unspecified, loopback, and IPv4 within
    "[::]", "[::1]", "[0:0:0:0:0:0:0:1]", "[0000:0000:0000:0000:0000:0000:0000:0001]", "[::0.0.0.1]", "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]", "[::FFFF:169.254.169.254]", "[0:0:0:0:0:ffff:10.0.0.1]", "[::ffff:8.8.8.8]", "[::127.0.0.1]",
    "[::7f00:1]", "[::8.8.8.8]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b::10.0.0.1]", "[64:ff9b:1::1]",
    "[64:ff9b:1:ffff:ffff:ffff:8.8.8.8]", "[64:ff9b:0:0:1::1]", "[2002:7f00:1::]", "[2002:a9fe:a9fe::1]", "[2002:808:808::]",
    "[2001:0:4136:e378:8000:63bf:3fff:fdd2]", "[2001::1]",
    // IPv6: the registry
    "[100::1]", "[100:0:0:1::1]", "[2001:2::1]", "[2001:10::1]", "[2001:20::1]", "[2001:1ff:ffff::]", "[2001:db8::1]",
    "[3fff::1]", "[3fff:fff:ffff::]", "[5f00::1]", "[2620:4f:8000::1]", "[fc00::1]", "[fd00:ec2::254]", "[fdff::1]",
    "[fe80::1]", "[febf::1]", "[fec0::1]", "[ff02::1]", "[4000::1]", "[1::1]", "[200::1]", "[8000::1]",
  ])("refuses https://%s/", (host) => {
    expect(reason(`https://${host}/`)).toBe("address-refused");
    expect(reason(`https://${host}:8443/hook?x=1`)).toBe("address-refused");
  });

  it("refuses every address of every IPv4 range, in all the number bases", () => {
    const specials = fc.constantFrom(
      [0x0a000000, 8], [0x7f000000, 8], [0xa9fe0000, 16], [0xac100000, 12], [0xc0a80000, 16], [0x64400000, 10], [0, 8], [0xe0000000, 3],
    );
    fc.assert(
      fc.property(specials, fc.integer({ min: 0, max: 0xffff_ffff }), ([prefix = 0, bits = 0], random) => {
        const value = (prefix | (random & (0xffff_ffff >>> bits))) >>> 0;
        const spellings = [dotted(value), String(value), `0x${value.toString(16)}`, `0${value.toString(8)}`, `[::ffff:${dotted(value)}]`, `[64:ff9b::${dotted(value)}]`];
        for (const host of spellings) expect(reason(`https://${host}/`), host).toBe("address-refused");
      }),
      { numRuns: 300 },
    );
  });
});

describe("the edges of the ranges", () => {
  it.each([
    ["9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"],
    ["100.63.255.255", "100.64.0.0", "100.127.255.255", "100.128.0.0"],
    ["126.255.255.255", "127.0.0.0", "127.255.255.255", "128.0.0.0"],
    ["168.63.129.15", "168.63.129.16", "168.63.129.16", "168.63.129.17"],
    ["169.253.255.255", "169.254.0.0", "169.254.255.255", "169.255.0.0"],
    ["172.15.255.255", "172.16.0.0", "172.31.255.255", "172.32.0.0"],
    ["191.255.255.255", "192.0.0.0", "192.0.0.255", "192.0.1.0"],
    ["192.0.1.255", "192.0.2.0", "192.0.2.255", "192.0.3.0"],
    ["192.31.195.255", "192.31.196.0", "192.31.196.255", "192.31.197.0"],
    ["192.52.192.255", "192.52.193.0", "192.52.193.255", "192.52.194.0"],
    ["192.88.98.255", "192.88.99.0", "192.88.99.255", "192.88.100.0"],
    ["192.167.255.255", "192.168.0.0", "192.168.255.255", "192.169.0.0"],
    ["192.175.47.255", "192.175.48.0", "192.175.48.255", "192.175.49.0"],
    ["198.17.255.255", "198.18.0.0", "198.19.255.255", "198.20.0.0"],
    ["198.51.99.255", "198.51.100.0", "198.51.100.255", "198.51.101.0"],
    ["203.0.112.255", "203.0.113.0", "203.0.113.255", "203.0.114.0"],
    ["2000:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2001::", "2001:1ff:ffff:ffff:ffff:ffff:ffff:ffff", "2001:200::"],
    ["2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db9::"],
    ["2001:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2002::", "2002:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "2003::"],
    ["2620:4f:7fff:ffff:ffff:ffff:ffff:ffff", "2620:4f:8000::", "2620:4f:8000:ffff:ffff:ffff:ffff:ffff", "2620:4f:8001::"],
    ["3ffe:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff::", "3fff:fff:ffff:ffff:ffff:ffff:ffff:ffff", "3fff:1000::"],
  ])("%s is public, %s to %s are not, %s is", (before, first, last, after) => {
    expect([before, first, last, after].map(isPublicAddress)).toEqual([true, false, false, true]);
  });

  it("ends what is public at 224.0.0.0, and at the end of 2000::/3", () => {
    expect(isPublicAddress("223.255.255.255")).toBe(true);
    expect(isPublicAddress("224.0.0.0")).toBe(false);
    expect(isPublicAddress("2000::")).toBe(true);
    expect(isPublicAddress("1fff:ffff::")).toBe(false);
    expect(isPublicAddress("3fff:ffff::")).toBe(true);
    expect(isPublicAddress("4000::")).toBe(false);
  });

  it.each(["", "localhost", "1.2.3", "1.2.3.4.5", "01.2.3.4", "1.2.3.256", "1.2.3.4/8", "[2606::1]", "2606::1::2", "2606:1", "g::1", "1:2:3:4:5:6:7:8:9", ":1::", "2606::1%eth0", "2606:4700::1.2.3", " 1.1.1.1"])(
    "%j is no address, and so not public",
    (text) => {
      expect(isPublicAddress(text)).toBe(false);
    },
  );
});

describe("reading addresses", () => {
  it("reads every IPv4 address that it writes", () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 0xffff_ffff }), (value) => {
      expect(parseIpv4(dotted(value))).toBe(value);
    }));
  });

  it("reads IPv6 addresses as the URL parser does, compressed or not", () => {
    const groups = fc.array(fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 0xffff })), { minLength: 8, maxLength: 8 });
    fc.assert(
      fc.property(groups, (parts) => {
        const full = parts.map((part) => part.toString(16)).join(":");
        const expected = parts.reduce((value, part) => (value << 16n) | BigInt(part), 0n);
        expect(parseIpv6(full)).toBe(expected);
        expect(parseIpv6(new URL(`http://[${full}]/`).hostname.slice(1, -1))).toBe(expected);
      }),
      { numRuns: 1000 },
    );
  });
});

describe("names", () => {
  it.each([
    "localhost", "localhost.", "LOCALHOST", "localhost..", "app.localhost", "app.localhost.", "printer.local", "printer.local.",
    "metadata.google.internal", "metadata.google.internal.", "METADATA.GOOGLE.INTERNAL", "ip-10-0-0-1.ec2.internal", "metadata",
    "metadata.goog", "a.metadata.goog", "metadata.tencentyun.com", "intranet", "com", "com.", "router.home.arpa", "1.0.0.127.in-addr.arpa",
    "nas.lan", "wiki.intranet", "dc.corp", "nas.home", "mx.mail", "app.test", "app.invalid", "app.onion", "app.alt",
    "app.private", "localhost.localdomain", "localtest.me", "a.localtest.me", "127.0.0.1.nip.io", "7f000001.nip.io",
    "10-0-0-1.sslip.io", "lvh.me", "ｌｏｃａｌｈｏｓｔ", "%6c%6f%63%61%6c%68%6f%73%74", "loc\u00adalhost", "a..example.com", "-a.example.com", "a-.example.com",
    "exa$mple.com", "exa!mple.com", "*.example.com", `${"a".repeat(64)}.com`, `${"a.".repeat(126)}example.com`,
  ])("refuses %s", (host) => {
    expect(reason(`https://${host}/`)).toBe("name-refused");
  });

  it.each(["localhost.example.com", "hooks.example", "internal.example.com", "mylocal.com", "notlocaltest.me", "example.net", "test.com", "metadata.google.com"])(
    "accepts %s, which only looks like one",
    (host) => {
      expect(reason(`https://${host}/`)).toBe("accepted");
    },
  );
});

describe("what development allows", () => {
  const allowing = (...hosts: string[]): typeof PRODUCTION => ({ allowHosts: new Set(hosts), allowHttp: false });

  it("lets the listed host:port through, and nothing beside it", () => {
    const options = allowing("127.0.0.1:9000", "[::1]:9000", "localhost:9000");
    expect(reason("https://127.0.0.1:9000/hook", options)).toBe("accepted");
    expect(reason("https://0x7f.1:9000/hook", options)).toBe("accepted");
    expect(reason("https://[0::1]:9000/", options)).toBe("accepted");
    expect(reason("https://localhost:9000/", options)).toBe("accepted");
    expect(reason("https://127.0.0.1:9001/", options)).toBe("address-refused");
    expect(reason("https://127.0.0.1/", options)).toBe("address-refused");
    expect(reason("https://127.0.0.2:9000/", options)).toBe("address-refused");
    expect(reason("https://localhost:9001/", options)).toBe("name-refused");
    expect(reason("https://127.0.0.1.nip.io:9000/", options)).toBe("name-refused");
  });

  it("fills in the default ports", () => {
    expect(reason("https://127.0.0.1/", allowing("127.0.0.1:443"))).toBe("accepted");
    expect(reason("https://127.0.0.1:443/", allowing("127.0.0.1:443"))).toBe("accepted");
    expect(reason("http://127.0.0.1/", { ...allowing("127.0.0.1:80"), allowHttp: true })).toBe("accepted");
    expect(reason("https://127.0.0.1/", allowing("127.0.0.1:80", "127.0.0.1"))).toBe("address-refused");
  });

  it("lets a listed host be http, and no other; http for all lists no host", () => {
    expect(reason("http://127.0.0.1:9000/", allowing("127.0.0.1:9000"))).toBe("accepted");
    expect(reason("http://127.0.0.1:9001/", allowing("127.0.0.1:9000"))).toBe("scheme-refused");
    expect(reason("http://example.com/", allowing("127.0.0.1:9000"))).toBe("scheme-refused");
    expect(reason("http://127.0.0.1:9000/", { allowHosts: new Set(), allowHttp: true })).toBe("address-refused");
    expect(reason("http://example.com/", { allowHosts: new Set(), allowHttp: true })).toBe("accepted");
    expect(reason("http://127.0.0.1:9000/", { allowHosts: new Set(["127.0.0.1:9000"]), allowHttp: true })).toBe("accepted");
  });

  it("never lets credentials, another scheme or port 0 through", () => {
    const options = { allowHosts: new Set(["127.0.0.1:9000", "127.0.0.1:0"]), allowHttp: true };
    expect(reason("http://user@127.0.0.1:9000/", options)).toBe("credentials-refused");
    expect(reason("ftp://127.0.0.1:9000/", options)).toBe("scheme-refused");
    expect(reason("http://127.0.0.1:0/", options)).toBe("port-refused");
  });
});
