import { z } from "zod";
import { fromBase64, toBase64Url } from "../crypto/base64.ts";
import type { RingKey } from "../crypto/keyring.ts";
import { RecentMap } from "../recent-map.ts";
import type { BoxRef } from "./mailbox.ts";

/** What a receipt stands for: one receive of one message out of one box of the tenant that asked. */
export type ReceiptContent = Pick<BoxRef, "kind" | "id"> & {
  /** The mailbox implementation's own. */
  readonly handle: string;
};

export type OpenedReceipt =
  | ({ readonly ok: true } & ReceiptContent)
  /** `malformed` is no receipt at all; `forged` was changed, or never given to this tenant. */
  | { readonly ok: false; readonly reason: "malformed" | "forged" };

/** The keys of the ring: the first makes receipts, all open them. */
export type ReceiptKeys = readonly RingKey[];

const MAX_MADE = 5_000;
const MAC_BYTES = 16;
const MAX_CHARACTERS = 4096;
const FORMAT = /^([A-Za-z0-9_-]{1,32})\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{22})$/;
const Content = z.tuple([z.enum(["endpoint", "queue"]), z.string(), z.string()]);

/**
 * A receipt for a client, `<key id>.<content>.<MAC>`, safe in a URL. It names its box, so that it says by itself what
 * it is for. It is authenticated and not encrypted: a handle is of use to nobody without the mailbox's credentials,
 * and sealing by AES-GCM with random nonces is good for 2^32 times a key (NIST SP 800-38D §8.3), which one receipt a
 * message would use up.
 */
export async function sealReceipt(keys: ReceiptKeys, tenantId: string, content: ReceiptContent): Promise<string> {
  const [active] = keys;
  if (active === undefined) throw new Error("POSTERN_ENCRYPTION_KEYS holds no key");
  const { kind, id, handle } = content;
  const payload = toBase64Url(new TextEncoder().encode(JSON.stringify([kind, id, handle])));
  const receipt = `${active.id}.${payload}.${await macOf(active, tenantId, payload)}`;
  madeWith(active).set(`${tenantId} ${receipt}`, { kind, id, handle });
  return receipt;
}

/** What {@link sealReceipt} put in for this tenant, whatever text it is given. */
export async function openReceipt(keys: ReceiptKeys, tenantId: string, receipt: string): Promise<OpenedReceipt> {
  const [, keyId, payload, mac] = receipt.length > MAX_CHARACTERS ? [] : (FORMAT.exec(receipt) ?? []);
  if (payload === undefined || mac === undefined) return { ok: false, reason: "malformed" };
  const key = keys.find(({ id }) => id === keyId);
  const known = key === undefined ? undefined : madeWith(key).get(`${tenantId} ${receipt}`);
  if (known !== undefined) return { ok: true, ...known };
  if (key === undefined || !sameText(await macOf(key, tenantId, payload), mac)) return { ok: false, reason: "forged" };
  const [kind, id, handle] = Content.parse(JSON.parse(new TextDecoder().decode(fromBase64(payload) ?? new Uint8Array())));
  return { ok: true, kind, id, handle };
}

/** Those that this isolate made lately, with their tenant: they need not be checked, and most come back to where they were made. */
const made = new WeakMap<RingKey, RecentMap<ReceiptContent>>();

function madeWith(key: RingKey): RecentMap<ReceiptContent> {
  const known = made.get(key);
  if (known !== undefined) return known;
  const receipts = new RecentMap<ReceiptContent>(MAX_MADE);
  made.set(key, receipts);
  return receipts;
}

/** Over the text, not the bytes it stands for: a second spelling of the same bytes is not the same receipt. */
async function macOf(key: RingKey, tenantId: string, payload: string): Promise<string> {
  const bound = new TextEncoder().encode(JSON.stringify([tenantId, payload]));
  const mac = await crypto.subtle.sign("HMAC", await receiptKey(key), bound);
  return toBase64Url(new Uint8Array(mac, 0, MAC_BYTES));
}

/** Keys, not promises of them: a request must not wait for what another one does. */
const receiptKeys = new WeakMap<RingKey, CryptoKey>();

/** A key of its own for receipts, so that the encryption key is used for one thing only. */
async function receiptKey(ringKey: RingKey): Promise<CryptoKey> {
  const known = receiptKeys.get(ringKey);
  if (known !== undefined) return known;
  const root = await crypto.subtle.importKey("raw", ringKey.key, "HKDF", false, ["deriveKey"]);
  const derived = await crypto.subtle.deriveKey(
    { name: "HKDF", hash: "SHA-256", salt: new Uint8Array(), info: new TextEncoder().encode("postern receipt v1") },
    root,
    { name: "HMAC", hash: "SHA-256", length: 256 },
    false,
    ["sign"],
  );
  receiptKeys.set(ringKey, derived);
  return derived;
}

/** Compares in a time that does not depend on where they differ. */
function sameText(left: string, right: string): boolean {
  let difference = left.length ^ right.length;
  for (let index = 0; index < left.length; index++) difference |= left.charCodeAt(index) ^ right.charCodeAt(index);
  return difference === 0;
}
