import type { KeyRing } from "../crypto/keyring.ts";
import { describeError, log } from "../log.ts";
import { RecentReads } from "../recent-reads.ts";
import { type EndpointWithSecrets, findDeliveryEndpoints, findNodeEndpoint } from "../storage/endpoints.ts";
import { findQueue, listQueueMembers } from "../storage/queues.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import { openDeliveryEndpoint } from "./open-endpoint.ts";

/** An endpoint that exists but can not be opened now: its key is not in the ring. */
export type Unreadable = "unreadable";

/** A queue as delivery needs it. */
export type QueueEntry = {
  readonly name: string;
  readonly tenantId: string;
  readonly maxReceives: number;
  readonly retentionSeconds: number;
  /** Endpoints that are subscribed to it, in a stable order. */
  readonly memberIds: readonly string[];
};

/** What the control plane says about where a message goes. Every call throws when D1 can not be read. */
export type Directory = {
  /** Those of the ids that exist. */
  endpoints(ids: readonly string[]): Promise<ReadonlyMap<string, DeliveryEndpoint | Unreadable>>;
  queue(tenantId: string, name: string): Promise<QueueEntry | null>;
  /** The endpoint that has the node name, if one does. */
  nodeEndpointId(tenantId: string, node: string): Promise<string | null>;
};

const MAX_ENTRIES = 10_000;

/** Reads D1 at every call: what retries use. */
export function directoryOf(db: D1Database, keyRing: KeyRing, now: () => number): Directory {
  return {
    async endpoints(ids) {
      const rows = await findDeliveryEndpoints(db, ids, now());
      return new Map(await Promise.all(rows.map(async (row) => [row.id, await open(row, keyRing)] as const)));
    },
    async queue(tenantId, name) {
      const [queue, members] = await Promise.all([findQueue(db, tenantId, name), listQueueMembers(db, tenantId, name)]);
      if (queue === null) return null;
      const { maxReceives, retentionSeconds } = queue;
      return { name, tenantId, maxReceives, retentionSeconds, memberIds: members.map(({ endpointId }) => endpointId) };
    },
    async nodeEndpointId(tenantId, node) {
      return (await findNodeEndpoint(db, tenantId, node))?.endpointId ?? null;
    },
  };
}

/** One that can not be opened must not hold up those that can, and must not pass for deleted. */
async function open(row: EndpointWithSecrets, keyRing: KeyRing): Promise<DeliveryEndpoint | Unreadable> {
  try {
    return await openDeliveryEndpoint(row, keyRing);
  } catch (error) {
    log("error", "endpoint.unreadable", { endpointId: row.id, error: describeError(error) });
    return "unreadable";
  }
}

/**
 * What this isolate read lately in front of D1: nothing it answers is more than a second old, counted from before it
 * was read. What first attempts use.
 */
export class RecentDirectory {
  readonly #endpoints = new RecentReads<DeliveryEndpoint | Unreadable | null>(CACHE_MAX_AGE_MS, MAX_ENTRIES);
  readonly #queues = new RecentReads<QueueEntry | null>(CACHE_MAX_AGE_MS, MAX_ENTRIES);
  readonly #nodes = new RecentReads<string | null>(CACHE_MAX_AGE_MS, MAX_ENTRIES);

  /** After a change that this isolate made itself. */
  forget(nowMs: number): void {
    for (const recent of [this.#endpoints, this.#queues, this.#nodes]) recent.forget(nowMs);
  }

  inFrontOf(directory: Directory, now: () => number, inBackground: (promise: Promise<unknown>) => void): Directory {
    return {
      endpoints: async (ids) => {
        const nowMs = now();
        const found = new Map<string, DeliveryEndpoint | Unreadable>();
        const missing: string[] = [];
        const aging: string[] = [];
        for (const id of ids) {
          const known = this.#endpoints.get(id, nowMs);
          if (known === undefined) missing.push(id);
          else if (known !== null) found.set(id, known);
          if (known !== undefined && this.#endpoints.claimRefresh(id, nowMs)) aging.push(id);
        }
        const read = async (wanted: readonly string[]): Promise<void> => {
          const endpoints = await directory.endpoints(wanted);
          for (const id of wanted) this.#endpoints.set(id, endpoints.get(id) ?? null, nowMs);
          for (const [id, endpoint] of endpoints) found.set(id, endpoint);
        };
        // Those that will soon be too old are read again ahead of time; a failure is told to who waits for the read.
        if (aging.length > 0) inBackground(read(aging).catch(() => undefined));
        if (missing.length > 0) await read(missing);
        return found;
      },
      queue: (tenantId, name) =>
        this.#queues.getOrRead(`${tenantId}/${name}`, now(), () => directory.queue(tenantId, name), inBackground),
      nodeEndpointId: (tenantId, node) =>
        this.#nodes.getOrRead(`${tenantId}/${node}`, now(), () => directory.nodeEndpointId(tenantId, node), inBackground),
    };
  }
}
