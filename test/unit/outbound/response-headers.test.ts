import { beforeEach, describe, expect, it, vi } from "vitest";
import { openGateway } from "../http/gateway.ts";

beforeEach(() => {
  for (const level of ["info", "warn", "error"] as const) vi.spyOn(console, level).mockReturnValue(undefined);
  return () => vi.restoreAllMocks();
});

const PAGES = ["/docs", "/docs/style.css", "/openapi.json", "/.well-known/jwks.json", "/healthz", "/v1/endpoints", "/v1/none", "/nothing", "/in/src_none", "/metrics", "/v1/stream/a"];

describe.each(PAGES)("the answer at %s", (path) => {
  it("keeps a browser from doing anything with it but show it", async () => {
    const gateway = openGateway();
    for (const [method, token] of [["GET", undefined], ["GET", null], ["POST", undefined], ["OPTIONS", null]] as const) {
      const { headers } = await gateway.send(method, `https://gateway.example.com${path}`, token === undefined ? {} : { token });
      const policy = headers.get("content-security-policy") ?? "";
      expect(policy).toMatch(/^default-src 'none'; /);
      expect(policy).toMatch(/frame-ancestors 'none'/);
      expect(policy).toMatch(/base-uri 'none'/);
      expect(policy).toMatch(/form-action 'none'/);
      expect(policy).not.toMatch(/unsafe|\*|data:|https?:/);
      expect(Object.fromEntries(headers)).toMatchObject({
        "strict-transport-security": "max-age=63072000; includeSubDomains",
        "x-content-type-options": "nosniff",
        "x-frame-options": "DENY",
        "referrer-policy": "no-referrer",
        "cross-origin-opener-policy": "same-origin",
        "cross-origin-resource-policy": "same-origin",
      });
      expect(headers.getSetCookie()).toEqual([]);
      expect(headers.has("access-control-allow-origin")).toBe(false);
    }
  });
});

describe("the page of the API", () => {
  it("has nothing inline that its policy would have to allow", async () => {
    const page = await (await openGateway().send("GET", "/docs", { token: null })).text();
    expect(page).not.toMatch(/<script|<style|\sstyle=|\son[a-z]+=|javascript:/i);
    expect([...page.matchAll(/(?:src|href)="([^"#][^"]*)"/g)].map(([, url]) => url).filter((url) => /^(?:https?:)?\/\//.test(url ?? ""))).toEqual([]);
  });
});
