import { z } from "zod";
import { type Issuer, parseIssuers } from "./auth/issuers.ts";
import { type CertificateGrant, isFetcher } from "./delivery/client-certificates.ts";

/** The environment of the Worker once parsed: what `wrangler.toml` binds, and the secrets. */
export type Config = {
  readonly version: string;
  /** The operator's token; null when none is set: then only tokens made earlier work. */
  readonly adminToken: string | null;
  readonly allowHosts: ReadonlySet<string>;
  readonly allowHttp: boolean;
  /** `id:base64` pairs; the first encrypts, all decrypt. */
  readonly encryptionKeys: readonly { readonly id: string; readonly key: Uint8Array }[];
  /** Where SNS is reached instead of `https://sns.<region>.<suffix>`; null in production. */
  readonly snsEndpoint: string | null;
  /** A resolver of `application/dns-json`, asked for the addresses of push URLs; null: names are judged as written. */
  readonly dohUrl: string | null;
  /** Origins whose pages may use the streams; `*` for any. Empty: none, and nothing else is ever shared. */
  readonly corsOrigins: ReadonlySet<string>;
  /** The origin at which others reach the gateway; null: where each request comes to. */
  readonly publicUrl: string | null;
  /** Where a proxy before the gateway says who connected to it; null: nobody is believed. */
  readonly clientIpHeader: string | null;
  readonly historyRetentionDays: number;
  /** Whether history has every message, or only what was not simply delivered. */
  readonly history: "full" | "failures";
  /** How old segments of a log are that move to the archive, where one is bound. */
  readonly archiveAfterSeconds: number;
  /** Whose JWTs are accepted beside our own tokens. */
  readonly jwtIssuers: readonly Issuer[];
  /** Client certificates that endpoints may name. */
  readonly certificates: readonly CertificateGrant[];
  /** Of one tenant in one isolate, where the tenant has no limit of its own. */
  readonly requestsPerSecond: number;
  /** More than so many messages in a queue, or one older than that, is a backlog that operators are told of. */
  readonly backlog: { readonly messages: number; readonly seconds: number };
  readonly mailbox: MailboxSettings;
};

/** Which mailbox, and how Amazon SQS is reached where it is that one. */
export type MailboxSettings = {
  readonly kind: "sqs" | "durable-object";
  /** Where SQS is reached instead of the region's own endpoint; null in production. */
  readonly sqsEndpoint: string | null;
  readonly awsRegion: string;
  /** Null when not set: then SQS answers nothing, and its faults say so. */
  readonly awsAccessKeyId: string | null;
  readonly awsSecretAccessKey: string | null;
  readonly awsSessionToken: string | null;
  /** Every queue's name begins with it and `-`. */
  readonly queuePrefix: string;
};

export const VERSION = "0.1.0";

const AES_256_KEY_BYTES = 32;

const optionalText = z.string().optional().transform((value) => (value === undefined || value === "" ? null : value));

const Variables = z.object({
  POSTERN_ADMIN_TOKEN: optionalText,
  POSTERN_ALLOW_HOSTS: optionalText,
  POSTERN_ALLOW_HTTP: optionalText,
  POSTERN_ENCRYPTION_KEYS: z
    .string({ error: "POSTERN_ENCRYPTION_KEYS is missing: set it to `id:<base64 of 32 random bytes>`" })
    .transform(parseKeyRing),
  POSTERN_SNS_ENDPOINT: optionalText,
  POSTERN_DOH_URL: optionalText.pipe(z.url({ protocol: /^https?$/, error: "must be an http(s) URL" }).nullable()),
  POSTERN_PUBLIC_URL: optionalText.pipe(z.url({ protocol: /^https?$/, error: "must be an http(s) URL" }).nullable()),
  POSTERN_CLIENT_IP_HEADER: optionalText.pipe(z.string().regex(/^[A-Za-z0-9-]+$/, { error: "must be the name of a header" }).nullable()),
  POSTERN_CORS_ORIGINS: optionalText.transform(parseOrigins),
  POSTERN_HISTORY: optionalText.pipe(z.enum(["full", "failures"], { error: "must be `full` or `failures`" }).nullable()),
  POSTERN_HISTORY_RETENTION_DAYS: z.coerce.number().int().min(1).max(3650).default(30),
  POSTERN_ARCHIVE_AFTER_SECONDS: z.coerce.number().int().min(1).max(315_360_000).default(86_400),
  POSTERN_JWT_ISSUERS: optionalText,
  POSTERN_MTLS_CERTIFICATES: optionalText.transform(parseGrants),
  POSTERN_REQUESTS_PER_SECOND: z.coerce.number().int().min(1).max(1_000_000).default(10_000),
  POSTERN_BACKLOG_MESSAGES: z.coerce.number().int().min(1).max(1_000_000_000).default(1_000),
  POSTERN_BACKLOG_SECONDS: z.coerce.number().int().min(1).max(1_209_600).default(900),
  POSTERN_MAILBOX: optionalText.pipe(z.enum(["sqs", "durable-object"], { error: "must be `sqs` or `durable-object`" }).nullable()),
  POSTERN_SQS_ENDPOINT: optionalText.pipe(z.url({ protocol: /^https?$/, error: "must be an http(s) URL" }).nullable()),
  // With the tenant, an id, `-dlq` and `.fifo` after it, a name must fit the 80 characters SQS allows.
  POSTERN_QUEUE_PREFIX: optionalText
    .transform((prefix) => prefix ?? "postern")
    .pipe(z.string().regex(/^[A-Za-z0-9_-]{1,20}$/, { error: "must be 1 to 20 letters, digits, `_` or `-`" })),
  AWS_REGION: optionalText,
  AWS_DEFAULT_REGION: optionalText,
  AWS_ACCESS_KEY_ID: optionalText,
  AWS_SECRET_ACCESS_KEY: optionalText,
  AWS_SESSION_TOKEN: optionalText,
});

/** Parses the environment; throws an `Error` that names what is missing or malformed, never its value. */
export function parseConfig(env: unknown): Config {
  const parsed = Variables.safeParse(env);
  if (!parsed.success) {
    throw new Error(`configuration: ${parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ")}`);
  }
  const variables = parsed.data;
  for (const { binding } of variables.POSTERN_MTLS_CERTIFICATES) {
    if (!isFetcher(Object.entries(env ?? {}).find(([name]) => name === binding)?.[1])) {
      throw new Error(`configuration: POSTERN_MTLS_CERTIFICATES: ${binding} is not bound: add it to mtls_certificates in wrangler.toml`);
    }
  }
  const allowHosts = new Set((variables.POSTERN_ALLOW_HOSTS ?? "").split(/[\s,]+/).filter((host) => host !== ""));
  return {
    version: VERSION,
    adminToken: variables.POSTERN_ADMIN_TOKEN,
    allowHosts,
    allowHttp: ["1", "true"].includes(variables.POSTERN_ALLOW_HTTP ?? ""),
    encryptionKeys: variables.POSTERN_ENCRYPTION_KEYS,
    snsEndpoint: variables.POSTERN_SNS_ENDPOINT,
    dohUrl: variables.POSTERN_DOH_URL,
    corsOrigins: variables.POSTERN_CORS_ORIGINS,
    publicUrl: variables.POSTERN_PUBLIC_URL === null ? null : new URL(variables.POSTERN_PUBLIC_URL).origin,
    clientIpHeader: variables.POSTERN_CLIENT_IP_HEADER,
    historyRetentionDays: variables.POSTERN_HISTORY_RETENTION_DAYS,
    history: variables.POSTERN_HISTORY ?? "full",
    archiveAfterSeconds: variables.POSTERN_ARCHIVE_AFTER_SECONDS,
    jwtIssuers: variables.POSTERN_JWT_ISSUERS === null ? [] : parseIssuers(variables.POSTERN_JWT_ISSUERS, allowHosts),
    certificates: variables.POSTERN_MTLS_CERTIFICATES,
    requestsPerSecond: variables.POSTERN_REQUESTS_PER_SECOND,
    backlog: { messages: variables.POSTERN_BACKLOG_MESSAGES, seconds: variables.POSTERN_BACKLOG_SECONDS },
    mailbox: mailboxSettings(variables),
  };
}

/** Unless it is said which, the mailbox is SQS where anything about SQS is configured. */
function mailboxSettings(variables: z.infer<typeof Variables>): MailboxSettings {
  const { POSTERN_MAILBOX: chosen, POSTERN_SQS_ENDPOINT: sqsEndpoint, AWS_ACCESS_KEY_ID: awsAccessKeyId } = variables;
  return {
    kind: chosen ?? (sqsEndpoint === null && awsAccessKeyId === null ? "durable-object" : "sqs"),
    sqsEndpoint,
    awsRegion: variables.AWS_REGION ?? variables.AWS_DEFAULT_REGION ?? "us-east-1",
    awsAccessKeyId,
    awsSecretAccessKey: variables.AWS_SECRET_ACCESS_KEY,
    awsSessionToken: variables.AWS_SESSION_TOKEN,
    queuePrefix: variables.POSTERN_QUEUE_PREFIX,
  };
}

function parseOrigins(text: string | null): ReadonlySet<string> {
  const origins = (text ?? "").split(/[\s,]+/).filter((origin) => origin !== "");
  for (const origin of origins) {
    if (origin !== "*" && URL.parse(origin)?.origin !== origin) {
      throw new Error("POSTERN_CORS_ORIGINS: each entry is `*` or an origin such as https://app.example.com");
    }
  }
  return new Set(origins);
}

function parseGrants(text: string | null): CertificateGrant[] {
  return (text ?? "").split(/[\s,]+/).filter((entry) => entry !== "").map((entry) => {
    const match = /^([A-Za-z_][A-Za-z0-9_]{0,63})(?:@([A-Za-z0-9_-]{1,64}))?$/.exec(entry);
    if (match?.[1] === undefined) {
      throw new Error("POSTERN_MTLS_CERTIFICATES: each entry is a binding, or `<binding>@<tenant>` for one tenant alone");
    }
    return { binding: match[1], tenantId: match[2] ?? null };
  });
}

function parseKeyRing(text: string): { id: string; key: Uint8Array }[] {
  return text.split(/[\s,]+/).filter((entry) => entry !== "").map((entry) => {
    const match = /^([A-Za-z0-9_-]{1,32}):([A-Za-z0-9+/]{43}=)$/.exec(entry);
    if (match?.[1] === undefined || match[2] === undefined) {
      throw new Error("POSTERN_ENCRYPTION_KEYS: each entry is `id:<base64 of 32 bytes>`, separated by commas");
    }
    const key = Uint8Array.from(atob(match[2]), (character) => character.charCodeAt(0));
    if (key.length !== AES_256_KEY_BYTES) throw new Error("POSTERN_ENCRYPTION_KEYS: a key is 32 bytes");
    return { id: match[1], key };
  });
}
