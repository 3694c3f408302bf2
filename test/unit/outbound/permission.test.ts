import { describe, expect, it } from "vitest";
import { clientCertificates } from "../../../src/delivery/client-certificates.ts";
import { parseAllowedRate, type PermissionRequest, requestPermission } from "../../../src/delivery/permission.ts";
import { handshakeChange } from "../../../src/registry/handshake.ts";
import { world } from "./world.ts";

const REQUEST: PermissionRequest = {
  tenantId: "default", url: "https://receiver.example.com/hook", auth: null, origin: "gateway.example.com",
  callbackUrl: "https://gateway.example.com/handshakes/key", requestsPerMinute: null,
};
const allowing = (headers: Record<string, string>, status = 200) => new Response(null, { status, headers });

describe("the validation request", () => {
  it("is OPTIONS at the URL itself, says who asks, how much, and where to answer later, and nothing that is secret", async () => {
    const at = world(() => allowing({ "webhook-allowed-origin": "gateway.example.com" }));
    const auth = { kind: "oauth2", tokenUrl: "https://auth.example.com/", clientId: "me", clientSecret: "canary", scope: null } as const;
    await requestPermission({ ...REQUEST, auth, requestsPerMinute: 90 }, at);
    expect(at.sent).toHaveLength(1);
    expect(at.sent[0]).toMatchObject({ url: REQUEST.url, init: { method: "OPTIONS", redirect: "manual" } });
    expect(at.sent[0]?.init.headers).toEqual({
      "user-agent": "Postern/test", "webhook-request-origin": "gateway.example.com", "webhook-request-callback": REQUEST.callbackUrl,
      "webhook-request-rate": "90",
    });
    expect(at.sent[0]?.init.body).toBeUndefined();
  });

  it("leaves the rate out where there is none", async () => {
    const at = world(() => allowing({}));
    await requestPermission(REQUEST, at);
    expect(at.sent[0]?.init.headers).not.toHaveProperty("webhook-request-rate");
  });

  it.each(["https://127.0.0.1/", "https://[::ffff:10.0.0.1]/", "http://receiver.example.com/", "https://metadata.google.internal/"])("is not made to %s", async (url) => {
    const at = world(() => allowing({ "webhook-allowed-origin": "*" }));
    expect(await requestPermission({ ...REQUEST, url }, at)).toMatchObject({ ok: false, detail: expect.stringContaining("refused") });
    expect(at.sent).toEqual([]);
  });

  it.each(["not-public", "unresolved"] as const)("is not made to a name that is %s", async (reason) => {
    const at = world(() => allowing({ "webhook-allowed-origin": "*" }), { dns: { check: async () => ({ ok: false, reason, detail: "No." }) } });
    expect(await requestPermission(REQUEST, at)).toEqual({ ok: false, detail: "No." });
    expect(at.sent).toEqual([]);
  });

  it("presents the endpoint's client certificate, or is not made", async () => {
    const certificates = clientCertificates([{ binding: "CERT", tenantId: "default" }], { CERT: { fetch: async () => allowing({ "webhook-allowed-origin": "*" }) } });
    const at = world(() => new Response(), { certificates });
    const auth = { kind: "mtls", certificate: "CERT" } as const;
    expect(await requestPermission({ ...REQUEST, auth }, at)).toEqual({ ok: true, requestsPerMinute: null });
    expect(await requestPermission({ ...REQUEST, auth, tenantId: "other" }, at)).toMatchObject({ ok: false });
    expect(at.sent).toEqual([]);
  });

  it("gives up on a receiver that never answers, and reads no more than a little of one that never ends", async () => {
    const endless = new ReadableStream<Uint8Array>({ pull: (controller) => controller.enqueue(new Uint8Array(4096)) });
    const at = world(() => new Response(endless, { headers: { "webhook-allowed-origin": "*" } }));
    expect(await requestPermission(REQUEST, at)).toEqual({ ok: true, requestsPerMinute: null });
    const failing = world(() => { throw new Error("getaddrinfo ENOTFOUND inside.network"); });
    expect(await requestPermission(REQUEST, failing)).toEqual({ ok: false, detail: "The connection failed." });
  });
});

describe("the answer", () => {
  it.each<[string, Record<string, string>, number | null, number | null]>([
    ["this origin", { "webhook-allowed-origin": "gateway.example.com" }, null, null],
    ["this origin in capitals", { "webhook-allowed-origin": "GATEWAY.example.com" }, null, null],
    ["any origin", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "*" }, 60, null],
    ["a rate", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "120" }, 600, 120],
    ["more than was asked for", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "1200" }, 600, 1200],
    ["no word of the rate that was asked for", { "webhook-allowed-origin": "*" }, 600, 600],
  ])("allows: %s", async (_name, headers, asked, granted) => {
    expect(await requestPermission({ ...REQUEST, requestsPerMinute: asked }, world(() => allowing(headers)))).toEqual({ ok: true, requestsPerMinute: granted });
  });

  it.each<[string, Record<string, string>, number]>([
    ["says nothing", {}, 200],
    ["is for another origin", { "webhook-allowed-origin": "other.example.com" }, 200],
    ["is for a part of the name", { "webhook-allowed-origin": "example.com" }, 200],
    ["lists origins", { "webhook-allowed-origin": "gateway.example.com, *" }, 200],
    ["is that of a browser's preflight", { "access-control-allow-origin": "*" }, 204],
    ["is a redirect", { "webhook-allowed-origin": "*", location: "https://elsewhere.example.com/" }, 307],
    ["is 405", { "webhook-allowed-origin": "*" }, 405],
    ["is a failure", { "webhook-allowed-origin": "*" }, 500],
    ["has no rate", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "0" }, 200],
    ["has a rate that is none", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "fast" }, 200],
    ["has a rate below none", { "webhook-allowed-origin": "*", "webhook-allowed-rate": "-5" }, 200],
  ])("that %s is no permission", async (_name, headers, status) => {
    const permission = await requestPermission(REQUEST, world(() => allowing(headers, status)));
    expect(permission).toMatchObject({ ok: false, detail: expect.stringMatching(/\.$/) });
  });

  it.each<[string | null, number | null, number | null | undefined]>([
    [null, null, null], [null, 5, 5], ["*", 5, null], [" 7 ", 5, 7], ["1.5", 5, undefined], ["", 5, undefined], ["1e3", 5, undefined], ["99999999999", 5, undefined],
  ])("of rate %j, with %j asked for, grants %j", (text, asked, granted) => {
    expect(parseAllowedRate(text, asked)).toBe(granted);
  });
});

describe("a change of an endpoint", () => {
  const url = "https://a.example.com/";
  it.each([
    [{ handshake: null, url }, {}, "none"],
    [{ handshake: null, url }, { handshake: true }, "begin"],
    [{ handshake: null, url }, { url: "https://b.example.com/" }, "none"],
    [{ handshake: "allowed", url }, { handshake: true }, "none"],
    [{ handshake: "allowed", url }, { handshake: true, url }, "none"],
    [{ handshake: "allowed", url }, { url: "https://b.example.com/" }, "begin"],
    [{ handshake: "waiting", url }, { url: "https://b.example.com/" }, "begin"],
    [{ handshake: "waiting", url }, { handshake: false, url: "https://b.example.com/" }, "end"],
    [{ handshake: "allowed", url }, { handshake: false }, "end"],
  ] as const)("of %j by %j: %s", (current, patch, change) => {
    expect(handshakeChange(current, patch)).toBe(change);
  });
});
