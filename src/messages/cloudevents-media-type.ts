/** A `Content-Type` as far as it decides how bytes may be embedded in JSON. */
export type MediaType = {
  /** `type/subtype` in lower case. */
  readonly essence: string;
  /** The `charset` parameter in lower case; null when there is none. */
  readonly charset: string | null;
};

const TOKEN = "[!#$%&'*+.^_`|~0-9A-Za-z-]+";
const QUOTED = '"(?:[^"\\\\\\u0000-\\u001f\\u007f-\\uffff]|\\\\[ -~])*"';
const MEDIA_TYPE = new RegExp(`^(${TOKEN}/${TOKEN})((?:[ \\t]*;[ \\t]*(?:${TOKEN}=(?:${TOKEN}|${QUOTED}))?)*)[ \\t]*$`);
const CHARSET = new RegExp(`;[ \\t]*charset=(?:"([^"]*)"|(${TOKEN}))`, "i");
const MAX_CHARACTERS = 1024;

/** Parses RFC 9110 §8.3.1; null when the text is not a media type. */
export function parseMediaType(text: string): MediaType | null {
  const match = text.length > MAX_CHARACTERS ? null : MEDIA_TYPE.exec(text.trim());
  if (match?.[1] === undefined) return null;
  const charset = CHARSET.exec(match[2] ?? "");
  return { essence: match[1].toLowerCase(), charset: (charset?.[1] ?? charset?.[2])?.toLowerCase() ?? null };
}

/** Whether the type declares JSON: subtype `json`, or a `+json` suffix (RFC 6839). */
export function isJson(type: MediaType): boolean {
  return type.essence.endsWith("/json") || type.essence.endsWith("+json");
}

/** Whether bytes of this type, read as UTF-8, are what its charset says; absent, UTF-8 is assumed. */
export function isUtf8(type: MediaType): boolean {
  return type.charset === null || type.charset === "utf-8" || type.charset === "utf8" || type.charset === "us-ascii";
}
