import type { KeyRing } from "../crypto/keyring.ts";
import { findDeliveryEndpoints } from "../storage/endpoints.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import { openDeliveryEndpoint } from "./open-endpoint.ts";

type Entry = { readonly readAtMs: number; readonly endpoint: DeliveryEndpoint | null };

const MAX_ENTRIES = 10_000;

/**
 * The endpoints this isolate delivered to lately, each copy at most a second old, counted from before it was read.
 * Holds results, never promises: a request may not wait for another one's.
 */
export class EndpointTable {
  readonly #entries = new Map<string, Entry>();

  /** Those of the ids that exist, from copies at most a second old. Throws when D1 can not be read. */
  async get(db: D1Database, keyRing: KeyRing, ids: Iterable<string>, nowMs: number): Promise<Map<string, DeliveryEndpoint>> {
    const found = new Map<string, DeliveryEndpoint>();
    const missing: string[] = [];
    for (const id of ids) {
      const entry = this.#entries.get(id);
      if (entry === undefined || nowMs - entry.readAtMs >= CACHE_MAX_AGE_MS) missing.push(id);
      else if (entry.endpoint !== null) found.set(id, entry.endpoint);
    }
    if (missing.length === 0) return found;
    const read = await readEndpoints(db, keyRing, missing, nowMs);
    if (this.#entries.size > MAX_ENTRIES) this.#entries.clear();
    for (const id of missing) {
      const endpoint = read.get(id) ?? null;
      this.#entries.set(id, { readAtMs: nowMs, endpoint });
      if (endpoint !== null) found.set(id, endpoint);
    }
    return found;
  }
}

/** Reads and opens endpoints from D1, past every cache: what retries use. */
export async function readEndpoints(
  db: D1Database,
  keyRing: KeyRing,
  ids: readonly string[],
  nowMs: number,
): Promise<Map<string, DeliveryEndpoint>> {
  const rows = await findDeliveryEndpoints(db, ids, nowMs);
  const opened = await Promise.all(rows.map((row) => openDeliveryEndpoint(row, keyRing)));
  return new Map(opened.map((endpoint) => [endpoint.id, endpoint]));
}
