import { toBase64Url } from "../crypto/base64.ts";

/** 192 bits, of the ≥ 160 that §3 asks for. */
const VALUE_BYTES = 24;
const VALUE = "[A-Za-z0-9_-]{32}";
const PORTAL_CODE = new RegExp(`^pcd_${VALUE}$`);

/** A new value of a token (`pst_`), or of a code that opens a portal session (`pcd_`). Only its hash is ever kept. */
export function newSecretValue(prefix: "pst" | "pcd"): string {
  return `${prefix}_${toBase64Url(crypto.getRandomValues(new Uint8Array(VALUE_BYTES)))}`;
}

/** Whether a text has the form of a portal code: what has not is not looked for. */
export function looksLikePortalCode(text: string): boolean {
  return PORTAL_CODE.test(text);
}
