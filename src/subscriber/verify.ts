import { Webhook, WebhookVerificationError } from "standardwebhooks";

export type Verified =
  | { readonly ok: true; readonly id: string; readonly text: string }
  | { readonly ok: false; readonly status: 400 | 401; readonly detail: string };

const SIGNED_HEADERS = ["webhook-id", "webhook-timestamp", "webhook-signature"] as const;

/**
 * Verifies with the official library. It signs text, so the bytes must be UTF-8, and every one of them must reach it:
 * `request.text()` would drop a byte order mark and break the signature of a body that has one.
 */
export function verifyWebhook(secret: string, headers: Headers, body: Uint8Array): Verified {
  const signed: Record<string, string> = {};
  for (const name of SIGNED_HEADERS) {
    const value = headers.get(name);
    if (value === null || value === "") return { ok: false, status: 400, detail: `the header ${name} is missing` };
    signed[name] = value;
  }
  const text = decode(body);
  if (text === null) return { ok: false, status: 400, detail: "the body is not UTF-8" };
  try {
    new Webhook(secret).verify(text, signed, { jsonParse: false });
  } catch (error) {
    if (!(error instanceof WebhookVerificationError)) throw error;
    return { ok: false, status: 401, detail: error.message };
  }
  return { ok: true, id: signed["webhook-id"] ?? "", text };
}

function decode(body: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(body);
  } catch (error) {
    if (error instanceof TypeError) return null;
    throw error;
  }
}
