/** An endpoint's own headers: how many, and how long a value may be. */
export const MAX_CUSTOM_HEADERS = 20;
export const MAX_HEADER_NAME_CHARACTERS = 128;
export const MAX_HEADER_VALUE_CHARACTERS = 1024;

/** RFC 9110 §5.6.2. */
const TOKEN = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;
/** RFC 9110 §5.5 without obs-text and tabs; the ends may not be spaces, for they would be trimmed on the way. */
const PRINTABLE = /^(?:[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)?$/;

/** Hop-by-hop (RFC 9110 §7.6.1), framing, and what the gateway says of the body itself. */
const RESERVED_NAMES: ReadonlySet<string> = new Set([
  "connection",
  "content-encoding",
  "content-length",
  "content-type",
  "expect",
  "host",
  "http2-settings",
  "keep-alive",
  "te",
  "traceparent",
  "tracestate",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "via",
]);
/** Families that name the gateway, its platform, or the message. */
const RESERVED_PREFIXES = ["ce-", "cf-", "postern-", "proxy-", "webhook-", "x-forwarded-"] as const;

/** Why an endpoint may not have this header, as a sentence that says how to mend it; null when it may. */
export function customHeaderFault(name: string, value: string): string | null {
  if (!TOKEN.test(name)) return "is not a header name: use letters, digits and `-`";
  if (name.length > MAX_HEADER_NAME_CHARACTERS) return `has a name of more than ${MAX_HEADER_NAME_CHARACTERS} characters`;
  const lower = name.toLowerCase();
  if (RESERVED_NAMES.has(lower) || RESERVED_PREFIXES.some((prefix) => lower.startsWith(prefix))) {
    return "is set by the gateway or the connection: leave it out";
  }
  if (value.length > MAX_HEADER_VALUE_CHARACTERS) {
    return `has a value of more than ${MAX_HEADER_VALUE_CHARACTERS} characters`;
  }
  if (!PRINTABLE.test(value)) return "has a value that is not printable ASCII without spaces at its ends";
  return null;
}
