/** The senders that are known by their own rules, and `hmac` for whoever signs in another way. */
export const WEBHOOK_KINDS = ["standard-webhooks", "github", "stripe", "slack", "shopify", "hmac"] as const;

export type WebhookKind = (typeof WEBHOOK_KINDS)[number];

export type HashName = "sha1" | "sha256" | "sha512";

/** How a sender signs with a shared secret, as far as senders differ. Header names are in lower case. */
export type HmacScheme = {
  readonly signatureHeader: string;
  readonly algorithm: HashName;
  readonly encoding: "hex" | "base64";
  /** What stands before the signature in its header, such as `sha256=`. */
  readonly prefix: string;
  /** What is signed: a text around `{body}`, in which `{timestamp}` and `{id}` are the values of those headers. */
  readonly content: string;
  readonly timestampHeader: string | null;
  /** How far the sender's clock and ours may be apart, delivery included. */
  readonly toleranceSeconds: number;
  /** Names a delivery, the same again when it is repeated. */
  readonly idHeader: string | null;
  /** Becomes the attribute `event`. */
  readonly eventHeader: string | null;
  /** What the secret's text stands for: its UTF-8 bytes, or the bytes it spells. */
  readonly secretEncoding: "utf8" | "hex" | "base64";
};

/** All senders that sign a time recommend five minutes. */
export const DEFAULT_TOLERANCE_SECONDS = 300;
export const MAX_TOLERANCE_SECONDS = 3600;

const SHA256_OF_BODY = {
  algorithm: "sha256",
  content: "{body}",
  timestampHeader: null,
  toleranceSeconds: DEFAULT_TOLERANCE_SECONDS,
  secretEncoding: "utf8",
} as const;

/** GitHub Docs, "Validating webhook deliveries". Neither the event's name nor the delivery's id is signed. */
export const GITHUB: HmacScheme = {
  ...SHA256_OF_BODY,
  signatureHeader: "x-hub-signature-256",
  encoding: "hex",
  prefix: "sha256=",
  idHeader: "x-github-delivery",
  eventHeader: "x-github-event",
};

/** shopify.dev, "Verify webhook deliveries". Neither the topic nor the delivery's id is signed. */
export const SHOPIFY: HmacScheme = {
  ...SHA256_OF_BODY,
  signatureHeader: "x-shopify-hmac-sha256",
  encoding: "base64",
  prefix: "",
  idHeader: "x-shopify-webhook-id",
  eventHeader: "x-shopify-topic",
};

/** docs.slack.dev, "Verifying requests from Slack". */
export const SLACK: HmacScheme = {
  ...SHA256_OF_BODY,
  signatureHeader: "x-slack-signature",
  encoding: "hex",
  prefix: "v0=",
  content: "v0:{timestamp}:{body}",
  timestampHeader: "x-slack-request-timestamp",
  idHeader: null,
  eventHeader: null,
};

const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9a-z-]{1,128}$/;
const PLACEHOLDER = /\{([^{}]*)\}/g;

/** What is wrong with a scheme that someone wrote: the field and how to mend it. */
export type SchemeFault = { readonly field: keyof HmacScheme; readonly detail: string };

/** Whether a scheme can be verified at all, and protects what it seems to: an unsigned time would protect nothing. */
export function schemeFaults(scheme: HmacScheme): SchemeFault[] {
  const faults: SchemeFault[] = [];
  for (const field of ["signatureHeader", "timestampHeader", "idHeader", "eventHeader"] as const) {
    const name = scheme[field];
    if (name !== null && !HEADER_NAME.test(name)) faults.push({ field, detail: "must be the name of a header" });
  }
  const placeholders = [...scheme.content.matchAll(PLACEHOLDER)].map(([, name]) => name);
  const fault = (detail: string): void => void faults.push({ field: "content", detail });
  if (placeholders.filter((name) => name === "body").length !== 1) fault("must hold `{body}` once");
  for (const name of new Set(placeholders)) {
    if (!["body", "timestamp", "id"].includes(name ?? "")) fault("may hold `{body}`, `{timestamp}` and `{id}` only");
  }
  if (placeholders.includes("timestamp") !== (scheme.timestampHeader !== null)) {
    fault("a time counts when it is signed: give `timestampHeader` and `{timestamp}` together");
  }
  if (placeholders.includes("id") && scheme.idHeader === null) fault("`{id}` needs `idHeader`");
  return faults;
}
