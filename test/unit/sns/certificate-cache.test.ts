import { afterEach, describe, expect, it, vi } from "vitest";
import { createCertificateCache } from "../../../src/sns/certificate-cache.ts";
import { verify } from "../../../src/sns/verify.ts";
import {
  CERTIFICATE_URL, encode, fakeFetch, headersOf, HOST, identity, makeIdentity, MINUTE_MS, notificationFields, NOW_MS, POLICY,
  servingCertificate, signedBody, tick,
} from "./fixtures.ts";

const DAY_MS = 24 * 60 * MINUTE_MS;

function urlOf(index: number): string {
  return `${HOST}/SimpleNotificationService-${index.toString(16).padStart(32, "0")}.pem`;
}

function cacheOver(respond: (url: string) => Response | Promise<Response>, snsEndpoint: string | null = null) {
  const { fetch, urls } = fakeFetch(respond);
  return { cache: createCertificateCache({ fetch, sleep: tick, snsEndpoint }), urls };
}

const missing = () => new Response("no", { status: 404 });

afterEach(() => {
  vi.useRealTimers();
});

describe("the certificate cache", () => {
  it("fetches a certificate once a day", async () => {
    const { cache, urls } = cacheOver(servingCertificate());
    for (const nowMs of [NOW_MS, NOW_MS + 1, NOW_MS + DAY_MS - 1]) {
      expect((await cache.lookUp(CERTIFICATE_URL, "src_1", nowMs)).ok).toBe(true);
    }
    expect(urls).toHaveLength(1);
    await cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS + DAY_MS);
    expect(urls).toHaveLength(2);
  });

  it("fetches once for all who ask while the fetch runs", async () => {
    const { cache, urls } = cacheOver(async () => {
      for (let turn = 0; turn < 5; turn++) await tick();
      return new Response(identity.certificatePem);
    });
    const lookups = await Promise.all(Array.from({ length: 100 }, () => cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS)));
    expect(lookups.every((lookup) => lookup.ok)).toBe(true);
    expect(urls).toHaveLength(1);
  });

  it("gives those who waited for a failed fetch its outcome, and tries again for who comes later", async () => {
    let healthy = false;
    const { cache, urls } = cacheOver(async () => {
      await tick();
      await tick();
      return healthy ? new Response(identity.certificatePem) : new Response("", { status: 500 });
    });
    const lookups = await Promise.all(Array.from({ length: 100 }, () => cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS)));
    expect(lookups.every((lookup) => !lookup.ok && lookup.kind === "cannot-judge")).toBe(true);
    expect(urls).toHaveLength(1);
    healthy = true;
    expect((await cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS)).ok).toBe(true);
    expect(urls).toHaveLength(2);
  });

  it("takes over from a fetch that ended with the request that made it", async () => {
    let calls = 0;
    const { cache } = cacheOver(() => (calls++ === 0 ? new Promise<Response>(() => undefined) : new Response(identity.certificatePem)));
    void cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS);
    expect((await cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS + 1)).ok).toBe(true);
    expect(calls).toBe(2);
  });

  it("remembers for a minute that a file was no certificate", async () => {
    const { cache, urls } = cacheOver(() => new Response("<html>"));
    for (const nowMs of [NOW_MS, NOW_MS + MINUTE_MS - 1]) {
      expect(await cache.lookUp(CERTIFICATE_URL, "src_1", nowMs)).toEqual({ ok: false, kind: "refused", reason: "certificate-malformed" });
    }
    expect(urls).toHaveLength(1);
    await cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS + MINUTE_MS);
    expect(urls).toHaveLength(2);
  });

  it("checks the dates at each use, not when it was fetched", async () => {
    const brief = makeIdentity("rsa-2048", NOW_MS - MINUTE_MS, NOW_MS + MINUTE_MS);
    const { cache, urls } = cacheOver(servingCertificate(brief.certificatePem));
    const body = signedBody(notificationFields(), "2", brief);
    const at = (nowMs: number) => verify({ headers: new Headers(headersOf(body)), body: encode(body) }, POLICY, cache, nowMs);
    expect((await at(NOW_MS + MINUTE_MS)).ok).toBe(true);
    expect(await at(NOW_MS + MINUTE_MS + 1)).toEqual({ ok: false, kind: "refused", reason: "certificate-expired" });
    expect(urls).toHaveLength(1);
  });

  it("fetches from snsEndpoint, under the same path, when that is set", async () => {
    for (const endpoint of ["http://127.0.0.1:4100", "http://127.0.0.1:4100/"]) {
      const { cache, urls } = cacheOver(servingCertificate(), endpoint);
      await cache.lookUp(urlOf(1), "src_1", NOW_MS);
      expect(urls).toEqual([urlOf(1).replace(HOST, "http://127.0.0.1:4100")]);
    }
  });

  it("gives up a fetch that takes longer than 5 s, head or body", async () => {
    vi.useFakeTimers();
    const stalled = [
      (_url: string, init: RequestInit) => aborted(init),
      (_url: string, init: RequestInit) =>
        Promise.resolve(new Response(new ReadableStream({ start: (controller) => void aborted(init).catch((error) => controller.error(error)) }))),
    ];
    for (const fetch of stalled) {
      const lookup = createCertificateCache({ fetch, sleep: tick, snsEndpoint: null }).lookUp(CERTIFICATE_URL, "src_1", NOW_MS);
      await vi.advanceTimersByTimeAsync(5_000);
      expect(await lookup).toEqual({ ok: false, kind: "cannot-judge", reason: "certificate-not-fetched" });
    }
  });
});

describe("made-up certificate names", () => {
  it("cause a bounded number of fetches: 1,000 of them no more than 30 a minute", async () => {
    const { cache, urls } = cacheOver(missing);
    const reasons = new Map<string, number>();
    for (let index = 0; index < 1000; index++) {
      const lookup = await cache.lookUp(urlOf(index), "src_1", NOW_MS + index);
      if (!lookup.ok) reasons.set(lookup.reason, (reasons.get(lookup.reason) ?? 0) + 1);
    }
    expect(urls).toHaveLength(30);
    expect(Object.fromEntries(reasons)).toEqual({ "certificate-not-fetched": 30, "certificate-fetches-exhausted": 970 });
    await cache.lookUp(urlOf(1), "src_1", NOW_MS + MINUTE_MS);
    expect(urls).toHaveLength(31);
  });

  it("all at once are bounded as well", async () => {
    const { cache, urls } = cacheOver(missing);
    await Promise.all(Array.from({ length: 1000 }, (_, index) => cache.lookUp(urlOf(index), "src_1", NOW_MS)));
    expect(urls).toHaveLength(30);
  });

  it("on many sources are bounded in all", async () => {
    const { cache, urls } = cacheOver(missing);
    for (let index = 0; index < 1000; index++) await cache.lookUp(urlOf(index), `src_${index}`, NOW_MS);
    expect(urls).toHaveLength(120);
  });

  it("leave messages undecided, so that SNS sends the real ones again", async () => {
    const { cache } = cacheOver(missing);
    for (let index = 0; index < 30; index++) await cache.lookUp(urlOf(index), "src_1", NOW_MS);
    const body = signedBody(notificationFields());
    const verification = await verify({ headers: new Headers(headersOf(body)), body: encode(body) }, POLICY, cache, NOW_MS);
    expect(verification).toEqual({ ok: false, kind: "cannot-judge", reason: "certificate-fetches-exhausted" });
  });

  it("neither push out a known certificate nor spend another source's allowance", async () => {
    const { cache, urls } = cacheOver((url) => (url === CERTIFICATE_URL || url === urlOf(5000) ? new Response(identity.certificatePem) : new Response("x")));
    await cache.lookUp(CERTIFICATE_URL, "src_1", NOW_MS);
    for (let minute = 0; minute < 20; minute++) {
      for (let index = 0; index < 50; index++) await cache.lookUp(urlOf(minute * 50 + index), "src_1", NOW_MS + minute * MINUTE_MS);
    }
    const nowMs = NOW_MS + 19 * MINUTE_MS;
    const fetchesBefore = urls.length;
    expect((await cache.lookUp(CERTIFICATE_URL, "src_1", nowMs)).ok).toBe(true);
    expect(urls).toHaveLength(fetchesBefore);
    expect((await cache.lookUp(urlOf(5000), "src_2", nowMs)).ok).toBe(true);
  });
});

/** Rejects, as `fetch` does, once the request is aborted; never settles otherwise. */
function aborted(init: RequestInit): Promise<never> {
  return new Promise((_resolve, reject) => {
    init.signal?.addEventListener("abort", () => reject(new DOMException("aborted", "AbortError")));
  });
}
