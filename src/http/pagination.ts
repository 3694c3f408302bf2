import { z } from "zod";
import type { Config } from "../config.ts";
import { fromBase64, toBase64Url } from "../crypto/base64.ts";
import { hmacKeyFor, sameBytes } from "../crypto/derived-key.ts";
import { fail } from "./router.ts";

/** Where a page ended: the values of the list's sort key, in order. */
export type Position = readonly (string | number)[];

/** Which list of which tenant a cursor belongs to; `tenantId` null for the operator's own lists. */
export type CursorScope = { readonly config: Config; readonly tenantId: string | null; readonly list: string };

const MAC_BYTES = 16;
const PURPOSE = "postern cursor v1";
const OF_A_LIST = "Pass `next` of the page before as it was, to the same list, or leave `cursor` out to start over.";
const Positions = z.array(z.union([z.string(), z.number()]));

/**
 * An opaque cursor: the position and a MAC over position, tenant and list, so that a cursor that was changed,
 * or belongs to another tenant or list, is not accepted.
 */
export async function encodeCursor(scope: CursorScope, position: Position): Promise<string> {
  const [active] = scope.config.encryptionKeys;
  if (active === undefined) throw new Error("POSTERN_ENCRYPTION_KEYS holds no key");
  const payload = new TextEncoder().encode(JSON.stringify(position));
  const mac = await crypto.subtle.sign("HMAC", await hmacKeyFor(active.key, PURPOSE), bound(scope, payload));
  const bytes = new Uint8Array(MAC_BYTES + payload.length);
  bytes.set(new Uint8Array(mac, 0, MAC_BYTES));
  bytes.set(payload, MAC_BYTES);
  return toBase64Url(bytes);
}

/**
 * The position in a cursor; undefined when there is none. Throws the problem `invalid-cursor` for one that
 * {@link encodeCursor} did not make for this tenant and list under a key of the ring.
 */
export async function decodeCursor(
  scope: CursorScope,
  cursor: string | undefined,
  howToMend: string = OF_A_LIST,
): Promise<Position | undefined> {
  if (cursor === undefined) return undefined;
  const bytes = fromBase64Url(cursor);
  if (bytes === null || bytes.length <= MAC_BYTES) return fail({ code: "invalid-cursor", detail: howToMend });
  const payload = bytes.subarray(MAC_BYTES);
  for (const { key } of scope.config.encryptionKeys) {
    const mac = new Uint8Array(await crypto.subtle.sign("HMAC", await hmacKeyFor(key, PURPOSE), bound(scope, payload)));
    if (sameBytes(mac.subarray(0, MAC_BYTES), bytes.subarray(0, MAC_BYTES))) {
      return Positions.parse(JSON.parse(new TextDecoder().decode(payload)));
    }
  }
  return fail({ code: "invalid-cursor", detail: howToMend });
}

/** As {@link decodeCursor}, of a list that is sorted by id alone: the id the page before ended with, or null. */
export async function decodeIdCursor(scope: CursorScope, cursor: string | undefined): Promise<string | null> {
  const position = await decodeCursor(scope, cursor);
  return position === undefined ? null : String(position[0]);
}

/**
 * Makes a page of `limit + 1` rows asked of storage: the row too many says that there is another page.
 * `position` names the sort key of a row, `present` makes the JSON of it.
 */
export async function toPage<Row, Item>(
  scope: CursorScope,
  rows: readonly Row[],
  limit: number,
  position: (row: Row) => Position,
  present: (row: Row) => Item,
): Promise<{ data: Item[]; next: string | null }> {
  const page = rows.slice(0, limit);
  const last = page.at(-1);
  const next = rows.length > limit && last !== undefined ? await encodeCursor(scope, position(last)) : null;
  return { data: page.map(present), next };
}

function bound(scope: CursorScope, payload: Uint8Array): Uint8Array {
  const prefix = new TextEncoder().encode(`${JSON.stringify([scope.tenantId, scope.list])}\n`);
  const bytes = new Uint8Array(prefix.length + payload.length);
  bytes.set(prefix);
  bytes.set(payload, prefix.length);
  return bytes;
}

/** Null for what is not the one spelling that {@link toBase64Url} gives these bytes. */
function fromBase64Url(text: string): Uint8Array | null {
  const bytes = fromBase64(text);
  return bytes !== null && toBase64Url(bytes) === text ? bytes : null;
}
