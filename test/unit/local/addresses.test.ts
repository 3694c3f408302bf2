import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { addressesOf, freePort, hostAndPort, portIsFree } from "../../../src/local/addresses.ts";

describe("addressesOf", () => {
  it("reads literal addresses out of hosts and URLs, each once", async () => {
    expect(await addressesOf(["127.0.0.1:9000", "http://127.0.0.1:4566", "[::1]:9001"])).toEqual(["127.0.0.1", "::1"]);
  });

  it("leaves out a name that does not resolve", async () => {
    expect(await addressesOf(["no-such-host.invalid:80"])).toEqual([]);
  });
});

describe("hostAndPort", () => {
  it("puts an IPv6 address in brackets", () => {
    expect(hostAndPort("::1", 80)).toBe("[::1]:80");
    expect(hostAndPort("127.0.0.1", 80)).toBe("127.0.0.1:80");
  });
});

describe("freePort", () => {
  it("is the preferred one while that is free, and another when it is taken", async () => {
    const preferred = await freePort("127.0.0.1", 0);
    expect(await freePort("127.0.0.1", preferred)).toBe(preferred);

    const server = createServer();
    await new Promise<void>((resolve) => server.listen(preferred, "127.0.0.1", resolve));
    try {
      expect(await portIsFree("127.0.0.1", preferred)).toBe(false);
      expect(await freePort("127.0.0.1", preferred)).not.toBe(preferred);
    } finally {
      server.close();
    }
  });
});
