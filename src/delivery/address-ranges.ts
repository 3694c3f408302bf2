/**
 * Which addresses are public: all but those of the IANA special-purpose registries, multicast, what is reserved,
 * and cloud metadata services. Every listed range is refused, also the few that the registries call reachable,
 * for nobody serves webhooks there.
 * https://www.iana.org/assignments/iana-ipv4-special-registry/
 * https://www.iana.org/assignments/iana-ipv6-special-registry/
 */
type Range<Value> = { readonly prefix: Value; readonly mask: Value; readonly name: string };

const IPV4_BITS = 32;
const IPV6_BITS = 128n;
const IPV4_MASK = 0xffff_ffffn;

const IPV4_RANGES: readonly Range<number>[] = [
  ipv4Range("0.0.0.0/8", "this network, RFC 791"),
  ipv4Range("10.0.0.0/8", "private use, RFC 1918"),
  ipv4Range("100.64.0.0/10", "shared address space, RFC 6598"), // Alibaba's metadata at 100.100.100.200 too
  ipv4Range("127.0.0.0/8", "loopback, RFC 1122"),
  ipv4Range("168.63.129.16/32", "Azure's platform service"),
  ipv4Range("169.254.0.0/16", "link local, RFC 3927"), // the metadata of most clouds at 169.254.169.254
  ipv4Range("172.16.0.0/12", "private use, RFC 1918"),
  ipv4Range("192.0.0.0/24", "IETF protocol assignments, RFC 6890"), // Oracle's metadata at 192.0.0.192 too
  ipv4Range("192.0.2.0/24", "documentation, RFC 5737"),
  ipv4Range("192.31.196.0/24", "AS112-v4, RFC 7535"),
  ipv4Range("192.52.193.0/24", "AMT, RFC 7450"),
  ipv4Range("192.88.99.0/24", "deprecated 6to4 relay anycast, RFC 7526"),
  ipv4Range("192.168.0.0/16", "private use, RFC 1918"),
  ipv4Range("192.175.48.0/24", "AS112 service, RFC 7534"),
  ipv4Range("198.18.0.0/15", "benchmarking, RFC 2544"),
  ipv4Range("198.51.100.0/24", "documentation, RFC 5737"),
  ipv4Range("203.0.113.0/24", "documentation, RFC 5737"),
  ipv4Range("224.0.0.0/4", "multicast, RFC 5771"),
  ipv4Range("240.0.0.0/4", "reserved and limited broadcast, RFC 1112 and RFC 8190"),
];

const IPV6_RANGES: readonly Range<bigint>[] = [
  ipv6Range("::1/128", "loopback, RFC 4291"),
  ipv6Range("::/96", "unspecified and IPv4-compatible, RFC 4291"),
  ipv6Range("::ffff:0:0/96", "IPv4-mapped, RFC 4291"),
  ipv6Range("64:ff9b:1::/48", "local-use IPv4/IPv6 translation, RFC 8215"),
  ipv6Range("100::/64", "discard only, RFC 6666"),
  ipv6Range("100:0:0:1::/64", "dummy prefix, RFC 9780"),
  ipv6Range("2001::/32", "Teredo, RFC 4380"),
  ipv6Range("2001::/23", "IETF protocol assignments, RFC 2928"), // benchmarking, AMT, AS112-v6, ORCHID, DRIP
  ipv6Range("2001:db8::/32", "documentation, RFC 3849"),
  ipv6Range("2002::/16", "6to4, RFC 3056"),
  ipv6Range("2620:4f:8000::/48", "AS112 service, RFC 7534"),
  ipv6Range("3fff::/20", "documentation, RFC 9637"),
  ipv6Range("5f00::/16", "segment routing, RFC 9602"),
  ipv6Range("fc00::/7", "unique local, RFC 4193"), // AWS's metadata at fd00:ec2::254 too
  ipv6Range("fe80::/10", "link local, RFC 4291"),
  ipv6Range("fec0::/10", "deprecated site local, RFC 3879"),
  ipv6Range("ff00::/8", "multicast, RFC 4291"),
];

/** An address that stands for the IPv4 address in its last 32 bits, which DNS64 makes of public ones too. */
const NAT64 = ipv6Range("64:ff9b::/96", "IPv4/IPv6 translation, RFC 6052");
/** All that IANA has handed out as global unicast; the rest is unassigned, and so not public. */
const GLOBAL_UNICAST = ipv6Range("2000::/3", "global unicast, RFC 4291");

/** Whether the address (IPv4 dotted decimal, or IPv6 without brackets) is public; anything else is not. */
export function isPublicAddress(ip: string): boolean {
  return specialPurpose(ip) === null;
}

/** What makes an address not public, in words; null for a public one. */
export function specialPurpose(ip: string): string | null {
  if (!ip.includes(":")) {
    const value = parseIpv4(ip);
    return value === null ? "not an IP address" : ipv4Purpose(value);
  }
  const value = parseIpv6(ip);
  return value === null ? "not an IP address" : ipv6Purpose(value);
}

function ipv4Purpose(value: number): string | null {
  return IPV4_RANGES.find((range) => (value & range.mask) >>> 0 === range.prefix)?.name ?? null;
}

function ipv6Purpose(value: bigint): string | null {
  const within = (range: Range<bigint>): boolean => (value & range.mask) === range.prefix;
  if (within(NAT64)) return ipv4Purpose(Number(value & IPV4_MASK));
  const special = IPV6_RANGES.find(within);
  if (special !== undefined) return special.name;
  return within(GLOBAL_UNICAST) ? null : "unassigned, RFC 4291";
}

/** The 32 bits of four decimal numbers without leading zeros, as the URL standard writes them; null otherwise. */
export function parseIpv4(text: string): number | null {
  const parts = text.split(".");
  if (parts.length !== 4) return null;
  let value = 0;
  for (const part of parts) {
    if (!/^(?:0|[1-9][0-9]{0,2})$/.test(part) || Number(part) > 255) return null;
    value = value * 256 + Number(part);
  }
  return value;
}

/** The 128 bits of an IPv6 address in any form of RFC 4291 §2.2, without zone or brackets; null otherwise. */
export function parseIpv6(text: string): bigint | null {
  const halves = text.split("::");
  if (halves.length > 2) return null;
  const head = parseGroups(halves[0] ?? "", halves.length === 1);
  const tail = halves[1] === undefined ? [] : parseGroups(halves[1], true);
  if (head === null || tail === null) return null;
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return null;
  const groups = [...head, ...new Array<number>(missing).fill(0), ...tail];
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}

/** The 16-bit groups of one side of `::`; dotted IPv4 may stand for the address's last two. */
function parseGroups(text: string, endsAddress: boolean): number[] | null {
  if (text === "") return [];
  const groups: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (part.includes(".")) {
      const ipv4 = endsAddress && index === parts.length - 1 ? parseIpv4(part) : null;
      if (ipv4 === null) return null;
      groups.push(ipv4 >>> 16, ipv4 & 0xffff);
    } else if (/^[0-9A-Fa-f]{1,4}$/.test(part)) {
      groups.push(Number.parseInt(part, 16));
    } else {
      return null;
    }
  }
  return groups;
}

function ipv4Range(cidr: string, name: string): Range<number> {
  const [address = "", bits = ""] = cidr.split("/");
  const prefix = parseIpv4(address);
  if (prefix === null) throw new Error(`not an IPv4 range: ${cidr}`);
  return { prefix, mask: (0xffff_ffff << (IPV4_BITS - Number(bits))) >>> 0, name };
}

function ipv6Range(cidr: string, name: string): Range<bigint> {
  const [address = "", bits = ""] = cidr.split("/");
  const prefix = parseIpv6(address);
  if (prefix === null) throw new Error(`not an IPv6 range: ${cidr}`);
  const mask = ((1n << BigInt(bits)) - 1n) << (IPV6_BITS - BigInt(bits));
  return { prefix, mask, name };
}
