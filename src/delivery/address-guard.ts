import { parseIpv4, specialPurpose } from "./address-ranges.ts";

export { isPublicAddress } from "./address-ranges.ts";

/** Why a push URL is refused (§7). */
export type AddressRefusal =
  | "malformed-url"
  | "url-too-long"
  | "scheme-refused"
  | "credentials-refused"
  | "port-refused"
  | "name-refused"
  | "address-refused";

/** `url` is canonical and without fragment: what is requested must be its `href`, not the text that was checked. */
export type CheckedUrl =
  | { readonly ok: true; readonly url: URL }
  | { readonly ok: false; readonly reason: AddressRefusal; readonly detail: string };

export type GuardOptions = {
  /** Exact `host:port` that may be reached although not public, over `http:` too (`POSTERN_ALLOW_HOSTS`). */
  readonly allowHosts: ReadonlySet<string>;
  /** Whether `http:` is accepted for every other host as well (`POSTERN_ALLOW_HTTP`). */
  readonly allowHttp: boolean;
};

export const MAX_URL_CHARACTERS = 2048;
const MAX_NAME_CHARACTERS = 253;

/** A name that DNS can hold, of two labels or more; underscores occur in practice. */
const PUBLIC_NAME = /^(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)+[a-z0-9-]{2,63}$/;

/** Top-level names that are resolved locally, in another network than the public DNS, or nowhere. */
const REFUSED_TOP_LEVEL = new Set([
  // special-use domain names, RFC 6761 §6, RFC 6762, RFC 7686, RFC 8375 (home.arpa), RFC 9476, and ICANN's choice
  // for private use (internal, 2024); but for `example`, which documentation and tests use and no network resolves
  "localhost", "local", "test", "invalid", "onion", "alt", "arpa", "internal",
  // never delegated because networks use them inside (ICANN's name collision work, RFC 6762 appendix G)
  "home", "corp", "mail", "lan", "intranet", "private", "localdomain", "domain", "workgroup", "gateway", "router",
]);

/** Public names that lead to the machine itself, to any address they spell, or to a cloud's metadata. */
const REFUSED_DOMAINS = [
  "nip.io", "sslip.io", "xip.io", "localtest.me", "lvh.me", "vcap.me", "lacolhost.com", "localho.st",
  "metadata.goog", "metadata.tencentyun.com", "metadata.packet.net", "metadata.platformequinix.com",
];

/**
 * Whether a push may go to this URL. Run at creation, at every change and at every attempt. It judges the name
 * that is written; what the name resolves to is judged by `isPublicAddress` where names are resolved.
 */
export function checkPushUrl(text: string, options: GuardOptions): CheckedUrl {
  if (text.length > MAX_URL_CHARACTERS) {
    return refuse("url-too-long", `The URL may have at most ${MAX_URL_CHARACTERS} characters.`);
  }
  // the URL parser drops some of these without a word, or reads them as `/`: what was read would not be what is reached
  const url = /[\u0000-\u0020\u007f\\]/.test(text) ? null : URL.parse(text);
  if (url === null) return refuse("malformed-url", "Give an absolute URL such as https://example.com/hook.");
  if (url.protocol !== "https:" && !(url.protocol === "http:" && (options.allowHttp || isAllowedHost(url, options)))) {
    return refuse("scheme-refused", "The URL must begin with https://.");
  }
  if (url.username !== "" || url.password !== "") {
    return refuse("credentials-refused", "The URL must not hold a user name or password: use a custom header.");
  }
  if (url.port === "0") return refuse("port-refused", "Port 0 cannot be reached.");
  url.hash = "";
  if (isAllowedHost(url, options)) return { ok: true, url };
  return hostRefusal(url.hostname) ?? { ok: true, url };
}

/** Whether the URL's exact `host:port` may be reached whatever its address is. */
export function isAllowedHost(url: URL, { allowHosts }: GuardOptions): boolean {
  return allowHosts.size > 0 && allowHosts.has(hostAndPort(url));
}

function hostAndPort(url: URL): string {
  const port = url.port !== "" ? url.port : url.protocol === "https:" ? "443" : "80";
  return `${url.hostname}:${port}`;
}

/** @param hostname canonical, as the URL parser writes it: IPv4 decimal, IPv6 in brackets, names in ASCII */
function hostRefusal(hostname: string): (CheckedUrl & { readonly ok: false }) | null {
  const host = hostname.replace(/\.+$/, "");
  const isIpv6 = host.startsWith("[");
  if (!isIpv6 && parseIpv4(host) === null) return nameRefusal(host);
  const purpose = specialPurpose(isIpv6 ? host.slice(1, -1) : host);
  return purpose === null ? null : refuse("address-refused", `The address ${host} is not public (${purpose}).`);
}

function nameRefusal(name: string): (CheckedUrl & { readonly ok: false }) | null {
  const topLevel = name.slice(name.lastIndexOf(".") + 1);
  if (REFUSED_TOP_LEVEL.has(topLevel)) return refuse("name-refused", `Names under .${topLevel} are not public.`);
  if (!name.includes(".")) return refuse("name-refused", "The host must be a full public name such as example.com.");
  if (name.length > MAX_NAME_CHARACTERS || !PUBLIC_NAME.test(name)) {
    return refuse("name-refused", "The host is not a name that the public DNS can hold.");
  }
  const refused = REFUSED_DOMAINS.find((domain) => name === domain || name.endsWith(`.${domain}`));
  return refused === undefined ? null : refuse("name-refused", `Names under ${refused} lead to addresses that are not public.`);
}

function refuse(reason: AddressRefusal, detail: string): CheckedUrl & { readonly ok: false } {
  return { ok: false, reason, detail };
}
