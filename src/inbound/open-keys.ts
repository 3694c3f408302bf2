import type { KeyRing } from "../crypto/keyring.ts";
import { RecentMap } from "../recent-map.ts";
import { importVerifyingKey } from "./secret.ts";
import type { HmacScheme, WebhookKind } from "./scheme.ts";

/** A secret of a source at rest, sealed under `${tenantId}/${id}`. */
export type SealedSourceSecret = {
  readonly id: string;
  readonly sealed: string;
  readonly createdAtMs: number;
  /** Null for the current one, else it verifies beside the current one until then. */
  readonly expiresAtMs: number | null;
};

const MAX_OPENED = 1_000;

/** By sealed text and what the secret was read as; keys, never promises: a request may not wait for another one's. */
const opened = new RecentMap<CryptoKey>(MAX_OPENED);

/** The keys that verify now, the current secret's first. Throws when a secret is not sealed for its row under a key of the ring. */
export async function openVerifyingKeys(
  source: { readonly tenantId: string; readonly kind: WebhookKind; readonly scheme: HmacScheme | null },
  secrets: readonly SealedSourceSecret[],
  keyRing: KeyRing,
  nowMs: number,
): Promise<CryptoKey[]> {
  const live = secrets.filter(({ expiresAtMs }) => expiresAtMs === null || expiresAtMs > nowMs);
  return Promise.all(
    live.map(async ({ id, sealed }) => {
      const reading = `${source.kind} ${source.scheme?.algorithm ?? ""} ${source.scheme?.secretEncoding ?? ""} ${sealed}`;
      const known = opened.get(reading);
      if (known !== undefined) return known;
      const key = await importVerifyingKey(source.kind, source.scheme, await keyRing.open(sealed, `${source.tenantId}/${id}`));
      opened.set(reading, key);
      return key;
    }),
  );
}
