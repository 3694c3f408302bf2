import { createHash, createPublicKey, generateKeyPairSync, type KeyObject, sign } from "node:crypto";

/** What signs, and what shows whose signature it is: both PEM, so that they can be kept across restarts. */
export type SigningIdentity = { readonly certificatePem: string; readonly privateKeyPem: string };

const SEQUENCE = 0x30;
const SET = 0x31;
const INTEGER = 0x02;
const BIT_STRING = 0x03;
const UTF8_STRING = 0x0c;
const GENERALIZED_TIME = 0x18;
const UTC_TIME = 0x17;
const VERSION = 0xa0;
const NULL = Buffer.from([0x05, 0x00]);
/** Object identifiers, DER. */
const SHA256_WITH_RSA = Buffer.from("06092a864886f70d01010b", "hex");
const ECDSA_WITH_SHA256 = Buffer.from("06082a8648ce3d040302", "hex");
const COMMON_NAME = Buffer.from("0603550403", "hex");

const TEN_YEARS_MS = 10 * 365 * 24 * 60 * 60 * 1000;
const AN_HOUR_MS = 60 * 60 * 1000;

/** A new RSA-2048 key with a certificate of its own for `sns.amazonaws.com`, valid for ten years. */
export function makeSigningIdentity(nowMs: number): SigningIdentity {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
  return {
    certificatePem: makeCertificate({ privateKey, notBeforeMs: nowMs - AN_HOUR_MS, notAfterMs: nowMs + TEN_YEARS_MS }),
    privateKeyPem: privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  };
}

/** The path SNS would serve this certificate at. */
export function certificatePath(certificatePem: string): string {
  return `/SimpleNotificationService-${createHash("sha256").update(certificatePem).digest("hex").slice(0, 32)}.pem`;
}

/** A self-signed X.509 v3 certificate (RFC 5280 §4.1) for an RSA or P-256 key, PEM. */
export function makeCertificate(options: {
  readonly privateKey: KeyObject;
  readonly notBeforeMs: number;
  readonly notAfterMs: number;
}): string {
  const { privateKey } = options;
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, COMMON_NAME, der(UTF8_STRING, Buffer.from("sns.amazonaws.com")))));
  const algorithm =
    privateKey.asymmetricKeyType === "rsa" ? der(SEQUENCE, SHA256_WITH_RSA, NULL) : der(SEQUENCE, ECDSA_WITH_SHA256);
  const tbs = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.from([1])),
    algorithm,
    name,
    der(SEQUENCE, time(options.notBeforeMs), time(options.notAfterMs)),
    name,
    createPublicKey(privateKey).export({ type: "spki", format: "der" }),
  );
  const signature = sign("sha256", tbs, privateKey);
  const certificate = der(SEQUENCE, tbs, algorithm, der(BIT_STRING, Buffer.from([0]), signature));
  const lines = certificate.toString("base64").match(/.{1,64}/g) ?? [];
  return `-----BEGIN CERTIFICATE-----\n${lines.join("\n")}\n-----END CERTIFICATE-----\n`;
}

function der(tag: number, ...parts: readonly Buffer[]): Buffer {
  const content = Buffer.concat(parts);
  const { length } = content;
  const header = length < 0x80 ? [tag, length] : length < 0x100 ? [tag, 0x81, length] : [tag, 0x82, length >> 8, length & 0xff];
  return Buffer.concat([Buffer.from(header), content]);
}

/** UTCTime until 2049, GeneralizedTime from 2050. */
function time(timeMs: number): Buffer {
  const text = `${new Date(timeMs).toISOString().replace(/[-:T]|\.[0-9]{3}/g, "")}`;
  return Number(text.slice(0, 4)) < 2050 ? der(UTC_TIME, Buffer.from(text.slice(2))) : der(GENERALIZED_TIME, Buffer.from(text));
}
