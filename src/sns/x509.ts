/** What verification needs of an X.509 certificate (RFC 5280 §4.1). */
export type Certificate = {
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
  /** SubjectPublicKeyInfo, DER. */
  readonly publicKeyInfo: Uint8Array;
};

/** One DER element: `content` without its header, `whole` with it. */
type Element = { readonly tag: number; readonly content: Uint8Array; readonly whole: Uint8Array };

const SEQUENCE = 0x30;
const INTEGER = 0x02;
const UTC_TIME = 0x17;
const GENERALIZED_TIME = 0x18;
const VERSION = 0xa0;
const PEM = /-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----/;

/**
 * Reads the first certificate of a PEM file; null when it is none. The chain is not checked: that the file came from
 * AWS's own host over TLS is what vouches for it. Read here because WebCrypto knows no certificates.
 */
export function readCertificate(pem: string): Certificate | null {
  const bytes = decodePem(pem);
  const certificate = bytes === null ? null : sequence(bytes);
  const tbs = certificate?.[0];
  const fields = tbs?.tag === SEQUENCE ? sequence(tbs.whole) : null;
  if (fields === null) return null;
  // TBSCertificate: [0] version (absent in v1), serial, signature, issuer, validity, subject, subjectPublicKeyInfo
  const [serial, , , validity, , publicKeyInfo] = fields[0]?.tag === VERSION ? fields.slice(1) : fields;
  if (serial?.tag !== INTEGER || validity === undefined || publicKeyInfo?.tag !== SEQUENCE) return null;
  const [notBefore, notAfter] = sequence(validity.whole) ?? [];
  const notBeforeMs = notBefore === undefined ? null : readTime(notBefore);
  const notAfterMs = notAfter === undefined ? null : readTime(notAfter);
  if (notBeforeMs === null || notAfterMs === null) return null;
  return { notBeforeMs, notAfterMs, publicKeyInfo: publicKeyInfo.whole };
}

function decodePem(pem: string): Uint8Array | null {
  const base64 = PEM.exec(pem)?.[1]?.replace(/\s+/g, "");
  if (base64 === undefined || base64.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(base64)) return null;
  return Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
}

/** The elements within the SEQUENCE that these bytes are; null when they are not exactly one. */
function sequence(bytes: Uint8Array): Element[] | null {
  const outer = readElement(bytes);
  if (outer === null || outer.tag !== SEQUENCE || outer.whole.length !== bytes.length) return null;
  const elements: Element[] = [];
  for (let rest = outer.content; rest.length > 0; ) {
    const element = readElement(rest);
    if (element === null) return null;
    elements.push(element);
    rest = rest.subarray(element.whole.length);
  }
  return elements;
}

/** DER lengths: up to 127 in one byte, else the number of length bytes (two are enough for 10 KiB) first. */
function readElement(bytes: Uint8Array): Element | null {
  const [tag, first, second, third] = bytes;
  if (tag === undefined || first === undefined) return null;
  let headerBytes = 2;
  let length = first;
  if (first === 0x81 && second !== undefined) {
    headerBytes = 3;
    length = second;
  } else if (first === 0x82 && second !== undefined && third !== undefined) {
    headerBytes = 4;
    length = second * 256 + third;
  } else if (first >= 0x80) {
    return null;
  }
  const end = headerBytes + length;
  if (end > bytes.length) return null;
  return { tag, content: bytes.subarray(headerBytes, end), whole: bytes.subarray(0, end) };
}

/** `YYMMDDHHMMSSZ` until 2049, `YYYYMMDDHHMMSSZ` from 2050 (RFC 5280 §4.1.2.5). */
function readTime(element: Element): number | null {
  const text = String.fromCharCode(...element.content.subarray(0, 16));
  const match = /^([0-9]{2,4})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})([0-9]{2})Z$/.exec(text);
  if (match === null) return null;
  const [year, month, day, hour, minute, second] = match.slice(1).map(Number);
  if (year === undefined || month === undefined) return null;
  if (element.tag === GENERALIZED_TIME && text.length === 15) return Date.UTC(year, month - 1, day, hour, minute, second);
  if (element.tag !== UTC_TIME || text.length !== 13) return null;
  return Date.UTC(year < 50 ? 2000 + year : 1900 + year, month - 1, day, hour, minute, second);
}
