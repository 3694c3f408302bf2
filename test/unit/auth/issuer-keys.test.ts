import { beforeAll, describe, expect, it } from "vitest";
import { IssuerKeys, type KeyLookup } from "../../../src/auth/issuer-keys.ts";
import { issuerWith, type SigningKey, signingKey } from "./issuer.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

let first: SigningKey;
let second: SigningKey;
beforeAll(async () => {
  [first, second] = await Promise.all([signingKey("first", "ES256"), signingKey("second", "ES256")]);
});

type Answer = () => Response | Promise<Response>;

/** An issuer whose answers and clock are the test's. */
function openIssuer(answer: Answer) {
  const state = { answer, nowMs: 1_000_000, fetches: 0, background: [] as Promise<unknown>[] };
  const issuer = issuerWith();
  const keys = new IssuerKeys({
    fetch: async (_url, init) => {
      state.fetches++;
      expect(init.redirect).toBe("manual");
      return state.answer();
    },
    // one turn, so that what is being fetched can come
    sleep: () => new Promise((resolve) => setTimeout(resolve, 0)),
    onFailure: () => undefined,
  });
  const lookUp = (kid: string): Promise<KeyLookup> =>
    keys.lookUp(issuer, {
      kid, algorithm: "ES256", nowMs: state.nowMs, inBackground: (work) => void state.background.push(work),
    });
  const outcome = async (kid: string): Promise<string> => {
    const found = await lookUp(kid);
    return found.ok ? "found" : found.reason;
  };
  return { state, outcome };
}

const serving = (...keys: readonly SigningKey[]): Answer => () => Response.json({ keys: keys.map(({ jwk }) => jwk) });
const outage: Answer = () => new Response("try later", { status: 503 });

describe("the keys of an issuer", () => {
  it("are fetched once, for all who ask at the same time", async () => {
    const { state, outcome } = openIssuer(async () => {
      await new Promise((resolve) => setTimeout(resolve, 5));
      return serving(first)();
    });
    expect(new Set(await Promise.all(Array.from({ length: 100 }, () => outcome("first"))))).toEqual(new Set(["found"]));
    expect(state.fetches).toBe(1);
  });

  it("are fetched no more than a few times for a thousand made-up ids, and the known ones still work", async () => {
    const { state, outcome } = openIssuer(serving(first));
    for (let index = 0; index < 1000; index++) {
      expect(await outcome(`made-up-${index}`)).toBe("unknown-key");
      state.nowMs += 60; // a minute for all of them
    }
    expect(state.fetches).toBeLessThanOrEqual(3);
    expect(await outcome("first")).toBe("found");
    const parallel = await Promise.all(Array.from({ length: 1000 }, (_, index) => outcome(`at-once-${index}`)));
    expect(new Set(parallel)).toEqual(new Set(["unknown-key"]));
    expect(state.fetches).toBeLessThanOrEqual(3);
  });

  it("include a new one as soon as it is used, when the last fetch was a while ago", async () => {
    const { state, outcome } = openIssuer(serving(first));
    await outcome("first");
    state.answer = serving(first, second);
    expect(await outcome("second")).toBe("unknown-key");
    state.nowMs += 31_000;
    expect(await outcome("second")).toBe("found");
    expect(state.fetches).toBe(2);
  });

  it("outlive an outage of their issuer for a day, and no request waits for it", async () => {
    const { state, outcome } = openIssuer(serving(first));
    await outcome("first");
    state.answer = () => new Promise(() => undefined); // it takes connections and never answers
    for (const age of [9 * MINUTE, 11 * MINUTE, 59 * MINUTE]) {
      state.nowMs = 1_000_000 + age;
      expect(await outcome("first")).toBe("found");
    }
    state.background.length = 0; // here they never end
    state.answer = outage;
    for (const age of [2 * HOUR, 3 * HOUR, 23 * HOUR]) {
      state.nowMs = 1_000_000 + age;
      expect(await outcome("first")).toBe("found");
      await Promise.all(state.background.splice(0));
    }
    state.nowMs = 1_000_000 + 25 * HOUR;
    expect(await outcome("first")).toBe("keys-unavailable");
    state.nowMs += MINUTE;
    state.answer = serving(first);
    expect(await outcome("first")).toBe("found");
  });

  it("are read again in the background from an age of ten minutes on, by one request", async () => {
    const { state, outcome } = openIssuer(serving(first, second));
    await outcome("first");
    state.answer = serving(second);
    state.nowMs += 11 * MINUTE;
    expect(await Promise.all([outcome("first"), outcome("first"), outcome("first")])).toEqual(["found", "found", "found"]);
    expect(state.background).toHaveLength(1);
    await Promise.all(state.background);
    expect(await outcome("first")).toBe("unknown-key"); // its issuer has withdrawn it
    expect(await outcome("second")).toBe("found");
    expect(state.fetches).toBe(2);
  });

  it("are not trusted by an isolate that slept for hours before it has asked again", async () => {
    const { state, outcome } = openIssuer(serving(first));
    await outcome("first");
    state.answer = serving(second);
    state.nowMs += 3 * HOUR;
    expect(await outcome("first")).toBe("unknown-key");
  });

  it.each<[string, Answer]>([
    ["an error", outage],
    ["a redirect", () => new Response(null, { status: 302, headers: { location: "https://elsewhere.example.com/keys" } })],
    ["no JSON", () => new Response("<html>")],
    ["another JSON", () => Response.json({ data: [] })],
    ["no key", () => Response.json({ keys: [] })],
    ["a key that is none", () => Response.json({ keys: [{ kty: "EC", crv: "P-256", kid: "first", x: "AA", y: "AA" }, "x", null] })],
    ["far too much", () => new Response("x".repeat(300 * 1024))],
    ["a broken connection", () => Promise.reject(new TypeError("connection reset"))],
  ])("can not be had where the answer is %s; known ones are kept", async (_what, answer) => {
    const cold = openIssuer(answer);
    expect(await cold.outcome("first")).toBe("keys-unavailable");
    expect(await cold.outcome("first")).toBe("keys-unavailable");
    expect(cold.state.fetches).toBe(1); // it is not asked again at once
    cold.state.nowMs += 3_000;
    cold.state.answer = serving(first);
    expect(await cold.outcome("first")).toBe("found");
    cold.state.answer = answer;
    cold.state.nowMs += 2 * HOUR;
    expect(await cold.outcome("first")).toBe("found");
  });

  it("do without what of a set can not be used", async () => {
    const odd = [{ kty: "RSA" }, { kty: "EC", crv: "P-256", x: "AA", y: "AA", kid: "bad" }, 7, null, { ...second.jwk, use: "enc" }];
    const { outcome } = openIssuer(() => Response.json({ keys: [...odd, first.jwk] }));
    expect(await outcome("first")).toBe("found");
    expect(await outcome("second")).toBe("unknown-key");
  });
});
