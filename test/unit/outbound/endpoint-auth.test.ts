import { describe, expect, it } from "vitest";
import { attemptDelivery } from "../../../src/delivery/attempt.ts";
import type { OAuth2Credentials } from "../../../src/delivery/endpoint-auth.ts";
import { endpoint, MESSAGE, NOW_MS, type Sent, world } from "./world.ts";

const TOKEN_URL = "https://auth.example.com/token";

/** New for each test: tokens are kept by the object. */
function credentials(change: Partial<OAuth2Credentials> = {}): OAuth2Credentials {
  return { kind: "oauth2", tokenUrl: TOKEN_URL, clientId: "client:1", clientSecret: "canary sécret/+&=%", scope: "hooks write", ...change };
}

function answering(token: (sent: Sent) => Response | Promise<Response>, hook: (sent: Sent) => Response = () => new Response()) {
  return (sent: Sent) => (sent.url === TOKEN_URL ? token(sent) : hook(sent));
}

const issued = (token: string, rest: object = { expires_in: 3600 }) => Response.json({ access_token: token, token_type: "Bearer", ...rest });

describe("an endpoint with OAuth 2.0 client credentials", () => {
  it("gets a token that was fetched as RFC 6749 says, once for many attempts", async () => {
    let tokens = 0;
    const at = world(answering(() => issued(`token-${++tokens}`)));
    const to = await endpoint({ auth: credentials(), headers: { authorization: "Basic of-the-endpoint" } });
    for (const attempt of [1, 2, 3]) expect((await attemptDelivery(to, MESSAGE, "t", attempt, at)).succeeded).toBe(true);
    const [asked, ...hooks] = at.sent;
    expect([asked?.url, asked?.init.method, asked?.init.redirect]).toEqual([TOKEN_URL, "POST", "manual"]);
    expect(new URLSearchParams(String(asked?.init.body))).toEqual(new URLSearchParams({ grant_type: "client_credentials", scope: "hooks write" }));
    const [scheme, basic = ""] = (new Headers(asked?.init.headers).get("authorization") ?? "").split(" ");
    expect(scheme).toBe("Basic");
    expect(Buffer.from(basic, "base64").toString()).toBe("client%3A1:canary+s%C3%A9cret%2F%2B%26%3D%25");
    expect(hooks.map(({ init }) => new Headers(init.headers).get("authorization"))).toEqual(Array(3).fill("Bearer token-1"));
  });

  it("gets another before the old one runs out", async () => {
    let tokens = 0;
    let nowMs = NOW_MS;
    const at = world(answering(() => issued(`token-${++tokens}`, { expires_in: 100 })), { now: () => nowMs });
    const to = await endpoint({ auth: credentials() });
    const attempt = async () => attemptDelivery(to, MESSAGE, "t", 1, at);
    await attempt();
    nowMs += 69_999;
    await attempt();
    nowMs += 1;
    await attempt();
    expect(at.sent.filter(({ url }) => url !== TOKEN_URL).map(({ init }) => new Headers(init.headers).get("authorization"))).toEqual([
      "Bearer token-1", "Bearer token-1", "Bearer token-2",
    ]);
  });

  it("gets another after it refused one", async () => {
    let tokens = 0;
    const at = world(answering(() => issued(`token-${++tokens}`), ({ init }) => new Response(null, { status: new Headers(init.headers).get("authorization") === "Bearer token-1" ? 401 : 204 })));
    const to = await endpoint({ auth: credentials() });
    expect((await attemptDelivery(to, MESSAGE, "t", 1, at)).record.statusCode).toBe(401);
    expect((await attemptDelivery(to, MESSAGE, "t", 2, at)).succeeded).toBe(true);
    expect(tokens).toBe(2);
  });

  it("has one token fetched for attempts that need it at once", async () => {
    let tokens = 0;
    const slow = async () => {
      tokens++;
      await new Promise((resolve) => setTimeout(resolve, 30));
      return issued("token");
    };
    const at = world(answering(slow), { now: () => Date.now() });
    const to = await endpoint({ auth: credentials() });
    const reports = await Promise.all(Array.from({ length: 20 }, () => attemptDelivery(to, MESSAGE, "t", 1, at)));
    expect(reports.every(({ succeeded }) => succeeded)).toBe(true);
    expect(tokens).toBe(1);
  });

  it.each<[string, () => Response | Promise<Response>]>([
    ["a refusal", () => new Response('{"error":"invalid_client","hint":"canary sécret/+&=%"}', { status: 401 })],
    ["a redirect", () => new Response(null, { status: 302, headers: { location: "https://evil.example" } })],
    ["no JSON", () => new Response("<html>")],
    ["no token", () => Response.json({ token_type: "Bearer" })],
    ["another type of token", () => Response.json({ access_token: "a", token_type: "mac" })],
    ["a token that would break the header", () => issued("a\r\nx-evil: 1")],
    ["an endless answer", () => new Response("x".repeat(70_000))],
    ["no connection", () => Promise.reject(new Error("lost"))],
  ])("is not sent anything without a token: %s is a failed attempt", async (_what, token) => {
    const at = world(answering(token));
    const report = await attemptDelivery(await endpoint({ auth: credentials() }), MESSAGE, "t", 1, at);
    expect(report).toMatchObject({ succeeded: false, gone: false, record: { statusCode: null, error: { code: "authentication-failed" } } });
    expect(JSON.stringify(report)).not.toContain("canary");
    expect(at.sent.every(({ url }) => url === TOKEN_URL)).toBe(true);
  });

  it("does not have the token server asked again at once after a failure", async () => {
    let nowMs = NOW_MS;
    const at = world(answering(() => new Response("", { status: 500 })), { now: () => nowMs });
    const to = await endpoint({ auth: credentials() });
    await attemptDelivery(to, MESSAGE, "t", 1, at);
    await attemptDelivery(to, MESSAGE, "t", 1, at);
    expect(at.sent).toHaveLength(1);
    nowMs += 1_000;
    await attemptDelivery(to, MESSAGE, "t", 1, at);
    expect(at.sent).toHaveLength(2);
  });

  it.each(["https://127.0.0.1/token", "http://auth.example.com/token", "https://metadata.google.internal/token"])("asks for no token at %s", async (tokenUrl) => {
    const at = world(() => issued("token"));
    const report = await attemptDelivery(await endpoint({ auth: credentials({ tokenUrl }) }), MESSAGE, "t", 1, at);
    expect(report.record.error?.code).toBe("authentication-failed");
    expect(at.sent).toEqual([]);
  });
});

describe("an endpoint that answers with what it was sent", () => {
  it("leaves no secret in history: neither the token nor a custom header, in text or in JSON, at any place", async () => {
    const secret = 'canary "header" value';
    const echo = ({ init }: Sent) => {
      const headers = Object.fromEntries(new Headers(init.headers));
      return new Response(`${"x".repeat(4080)}${headers["x-key"]} ${JSON.stringify(headers)} ${headers["authorization"]?.slice("Bearer ".length)}`, { status: 500 });
    };
    const to = await endpoint({ auth: credentials(), headers: { "x-key": secret, "x-short": "1" } });
    const report = await attemptDelivery(to, MESSAGE, "t", 1, world(answering(() => issued("canary-token-0123"), echo)));
    expect(report.record.responseBody).toHaveLength(4096);
    expect(report.record.responseBody).not.toContain("canary");
    const short = await attemptDelivery(to, MESSAGE, "t", 1, world(answering(() => issued("canary-token-0123"), (sent) => new Response(echo(sent).body && JSON.stringify(Object.fromEntries(new Headers(sent.init.headers)))))));
    expect(short.record.responseBody).toContain('"x-key":"***"');
    expect(short.record.responseBody).toContain('"x-short":"1"');
    expect(short.record.responseBody).toContain("Bearer ***");
    expect(short.record.responseBody).not.toContain("canary");
  });
});
