import type { Fetch } from "./bounded-fetch.ts";
import { CERTIFICATE_DEADLINE_MS, type LoadedCertificate, loadCertificate } from "./certificate.ts";
import { FetchBudget } from "./fetch-budget.ts";
import { RecentMap } from "../recent-map.ts";

/** A day: AWS replaces a certificate under a new name, so a cached one only ever stops being used. */
const ACCEPTED_TTL_MS = 24 * 60 * 60 * 1000;
const REFUSED_TTL_MS = 60_000;
const MAX_ACCEPTED = 64;
const MAX_NOT_ACCEPTED = 256;
const POLL_MS = 10;

export type CertificateLookup =
  | LoadedCertificate
  | { readonly ok: false; readonly kind: "cannot-judge"; readonly reason: "certificate-fetches-exhausted" };

/** The certificates an isolate knows, and the only way to one it does not know. */
export type CertificateCache = {
  /** `url` is one that `isCertificateUrl` has passed; `sourceId` is whose allowance of fetches it spends. */
  lookUp(url: string, sourceId: string, nowMs: number): Promise<CertificateLookup>;
};

type World = {
  readonly fetch: Fetch;
  readonly sleep: (ms: number) => Promise<void>;
  /** Where SNS is reached instead of its own hosts; null in production. */
  readonly snsEndpoint: string | null;
};

type Entry = { readonly loaded: LoadedCertificate; readonly untilMs: number };

/**
 * Certificates that were accepted are kept apart from those that were not, so that made-up names push none out.
 * Who asks for one that is being fetched polls for it: in workerd a request that awaits the promise of another
 * request is taken for hung.
 */
export function createCertificateCache(world: World): CertificateCache {
  const accepted = new RecentMap<Entry>(MAX_ACCEPTED);
  const notAccepted = new RecentMap<Entry>(MAX_NOT_ACCEPTED);
  const budget = new FetchBudget();
  /** By URL, when the fetch is over at the latest: it also ends with the request that made it. */
  const fetching = new Map<string, number>();

  const known = (url: string, nowMs: number, hasWaited: boolean): LoadedCertificate | null => {
    const entry = accepted.get(url) ?? notAccepted.get(url);
    if (entry === undefined || nowMs >= entry.untilMs) return null;
    // a failed fetch is the answer for those who waited for it; whoever comes later tries again
    return entry.loaded.ok || entry.loaded.kind === "refused" || hasWaited ? entry.loaded : null;
  };

  const load = async (url: string, nowMs: number): Promise<LoadedCertificate> => {
    notAccepted.delete(url);
    fetching.set(url, nowMs + CERTIFICATE_DEADLINE_MS);
    try {
      const loaded = await loadCertificate(url, world.fetch, world.snsEndpoint);
      if (loaded.ok) accepted.set(url, { loaded, untilMs: nowMs + ACCEPTED_TTL_MS });
      else notAccepted.set(url, { loaded, untilMs: nowMs + REFUSED_TTL_MS });
      return loaded;
    } finally {
      fetching.delete(url);
    }
  };

  return {
    async lookUp(url, sourceId, startedAtMs) {
      for (let nowMs = startedAtMs; ; nowMs += POLL_MS) {
        const loaded = known(url, nowMs, nowMs > startedAtMs);
        if (loaded !== null) return loaded;
        if (nowMs >= (fetching.get(url) ?? 0)) {
          if (budget.take(sourceId, nowMs)) return load(url, nowMs);
          return { ok: false, kind: "cannot-judge", reason: "certificate-fetches-exhausted" };
        }
        await world.sleep(POLL_MS);
      }
    },
  };
}
