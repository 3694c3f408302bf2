import { z } from "zod";

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
  readonly historyRetentionDays: number;
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
  POSTERN_HISTORY_RETENTION_DAYS: z.coerce.number().int().min(1).max(3650).default(30),
});

/** Parses the environment; throws an `Error` that names what is missing or malformed, never its value. */
export function parseConfig(env: unknown): Config {
  const parsed = Variables.safeParse(env);
  if (!parsed.success) {
    throw new Error(`configuration: ${parsed.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ")}`);
  }
  const variables = parsed.data;
  return {
    version: VERSION,
    adminToken: variables.POSTERN_ADMIN_TOKEN,
    allowHosts: new Set((variables.POSTERN_ALLOW_HOSTS ?? "").split(/[\s,]+/).filter((host) => host !== "")),
    allowHttp: ["1", "true"].includes(variables.POSTERN_ALLOW_HTTP ?? ""),
    encryptionKeys: variables.POSTERN_ENCRYPTION_KEYS,
    snsEndpoint: variables.POSTERN_SNS_ENDPOINT,
    historyRetentionDays: variables.POSTERN_HISTORY_RETENTION_DAYS,
  };
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
