import { z } from "zod";
import { boundedFetch, type Fetch } from "../sns/bounded-fetch.ts";
import { RecentMap } from "../recent-map.ts";
import { parseIpv4 } from "./address-ranges.ts";
import { type GuardOptions, isAllowedHost, isPublicAddress } from "./address-guard.ts";

/** What resolving a name showed. `unresolved` is nobody's fault but the resolver's: to be asked again. */
export type NameCheck =
  | { readonly ok: true }
  | { readonly ok: false; readonly reason: "not-public" | "no-address" | "unresolved"; readonly detail: string };

/** Judges the addresses a URL's name has at this moment, which the URL itself can not tell. */
export type DnsGuard = { check(url: URL, options: GuardOptions): Promise<NameCheck> };

type World = { readonly fetch: Fetch; readonly now: () => number };

/** A name may point elsewhere soon, so no answer is believed for longer, whatever its TTL. */
const MAX_AGE_MS = 60_000;
/** A resolver that does not answer is left alone for as long: each attempt would wait for it. */
const OUTAGE_MS = 1_000;
const MAX_NAMES = 5_000;
const MAX_ANSWER_BYTES = 64 * 1024;
const DEADLINE_MS = 3_000;

/** RFC 1035 §3.2.2 and RFC 3596 §2.1. */
const TYPE_NUMBERS = { A: 1, AAAA: 28 } as const;
/** RFC 1035 §4.1.1: no error, and no such name. */
const [NO_ERROR, NO_SUCH_NAME] = [0, 3];

/** `application/dns-json`, as Cloudflare's and Google's resolvers answer. */
const Answer = z.object({
  Status: z.number(),
  Answer: z.array(z.object({ type: z.number(), TTL: z.number().optional(), data: z.string() })).optional(),
});

type Records = { readonly addresses: readonly string[]; readonly ttlSeconds: number };
type Known = { readonly check: NameCheck; readonly untilMs: number };

/**
 * Resolves names by DNS over HTTPS at `dohUrl` (`application/dns-json`), A and AAAA. A name passes when both were
 * answered, there is an address, and every one of them is public. A Worker can not pin the address that it then
 * connects to: between this look and the connection the name may change, so this narrows rebinding, it does not end it.
 */
export function createDnsGuard(dohUrl: string, world: World): DnsGuard {
  // Values, never promises: a request may not wait for another one's.
  const known = new RecentMap<Known>(MAX_NAMES);
  return {
    async check(url, options) {
      const name = url.hostname.replace(/\.+$/, "");
      if (isLiteral(name) || isAllowedHost(url, options)) return { ok: true };
      const recent = known.get(name);
      if (recent !== undefined && world.now() < recent.untilMs) return recent.check;
      const askedAtMs = world.now();
      const { check, maxAgeMs } = await resolve(dohUrl, name, world);
      known.set(name, { check, untilMs: askedAtMs + maxAgeMs });
      return check;
    },
  };
}

async function resolve(dohUrl: string, name: string, world: World): Promise<{ readonly check: NameCheck; readonly maxAgeMs: number }> {
  const both = await Promise.all([ask(dohUrl, name, "A", world), ask(dohUrl, name, "AAAA", world)]);
  const answered = both.filter((records) => records !== null);
  if (answered.length < both.length) {
    return { check: refuse("unresolved", `The addresses of ${name} could not be looked up.`), maxAgeMs: OUTAGE_MS };
  }
  const ttlSeconds = Math.min(...answered.map((records) => records.ttlSeconds));
  const maxAgeMs = Math.max(OUTAGE_MS, Math.min(MAX_AGE_MS, ttlSeconds * 1000));
  const addresses = answered.flatMap((records) => records.addresses);
  if (addresses.length === 0) return { check: refuse("no-address", `The name ${name} has no address.`), maxAgeMs };
  if (addresses.every(isPublicAddress)) return { check: { ok: true }, maxAgeMs };
  // which address it is, is the business of the network it is in
  return { check: refuse("not-public", `The name ${name} has an address that is not public.`), maxAgeMs };
}

/** The addresses of one type; null when the resolver did not say. */
async function ask(dohUrl: string, name: string, type: keyof typeof TYPE_NUMBERS, world: World): Promise<Records | null> {
  const url = new URL(dohUrl);
  url.searchParams.set("name", name);
  url.searchParams.set("type", type);
  const fetchJson: Fetch = (href, init) => world.fetch(href, { ...init, headers: { accept: "application/dns-json" } });
  const fetched = await boundedFetch(fetchJson, url.href, { maxBytes: MAX_ANSWER_BYTES, deadlineMs: DEADLINE_MS });
  if (!fetched.ok || fetched.status !== 200) return null;
  const answer = parseAnswer(fetched.body);
  if (answer === null || (answer.Status !== NO_ERROR && answer.Status !== NO_SUCH_NAME)) return null;
  const records = answer.Answer ?? [];
  return {
    // what it is reached by, an alias, is of another type
    addresses: records.filter((record) => record.type === TYPE_NUMBERS[type]).map((record) => record.data),
    ttlSeconds: Math.min(MAX_AGE_MS / 1000, ...records.map((record) => record.TTL ?? 0)),
  };
}

function parseAnswer(body: Uint8Array): z.infer<typeof Answer> | null {
  try {
    return Answer.safeParse(JSON.parse(new TextDecoder().decode(body))).data ?? null;
  } catch {
    return null; // no JSON: the resolver did not say
  }
}

/** The URL parser writes addresses in one way each; they are judged by what they are. */
function isLiteral(host: string): boolean {
  return host.startsWith("[") || parseIpv4(host) !== null;
}

function refuse(reason: "not-public" | "no-address" | "unresolved", detail: string): NameCheck {
  return { ok: false, reason, detail };
}
