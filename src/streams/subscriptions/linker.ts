import { durableStreamName, durableStreamStub } from "../protocol/stub.ts";
import type { Links } from "./links.ts";
import type { SubscriptionRecord, SubscriptionStore } from "./record.ts";
import { directoryStub } from "./stub.ts";

/** Streams that are asked at once where their ends are. */
const SETTLED_AT_ONCE = 100;

export type LinkerWorld = {
  readonly store: SubscriptionStore;
  readonly links: Links;
  readonly streams: DurableObjectNamespace;
  readonly directories: DurableObjectNamespace;
};

/**
 * Links a subscription to its streams, in steps that each leave on disk how far it is. A stream is noted here before it
 * is asked to tell of itself: so nothing that it tells is taken for a mistake.
 */
export class Linker {
  readonly #world: LinkerWorld;

  constructor(world: LinkerWorld) {
    this.#world = world;
  }

  get isComplete(): boolean {
    const { store, links } = this.#world;
    return store.record === null || (store.record.isRegistered && store.record.backfillAfter === null && !links.hasUnsettled);
  }

  /** Makes the subscription known to its tenant's directory; false when the tenant has as many as it may. */
  async register(record: SubscriptionRecord): Promise<boolean> {
    const { store, directories } = this.#world;
    const { ref, config } = record;
    if (!(await directoryStub(directories, ref.tenantId).addSubscription(ref.id, config.pattern))) return false;
    if (store.record?.instance === record.instance) store.saveRecord({ ...store.record, isRegistered: true });
    return true;
  }

  /** The next step; whether there may be another. Throws when a part does not answer. */
  async step(): Promise<boolean> {
    const { store, links } = this.#world;
    const { record } = store;
    if (record === null) return false;
    if (!record.isRegistered) await this.register(record);
    if (store.record !== null && !links.hasUnsettled) await this.#findStreams(store.record);
    if (store.record === null) return false;
    await Promise.all(links.unsettled(SETTLED_AT_ONCE).map((path) => this.#settle(record, path)));
    return !this.isComplete;
  }

  async #findStreams({ ref, instance, backfillAfter }: SubscriptionRecord): Promise<void> {
    const { store, links, directories } = this.#world;
    if (backfillAfter === null) return;
    const { paths, next } = await directoryStub(directories, ref.tenantId).matching(ref.id, backfillAfter);
    const record = store.record;
    if (record === null || record.instance !== instance) return; // deleted meanwhile
    links.add(paths.filter((path) => !isOwnChannel(record, path)), false);
    store.saveRecord({ ...record, backfillAfter: next });
  }

  async #settle(record: SubscriptionRecord, path: string): Promise<void> {
    const { links, streams, store } = this.#world;
    const { tenantId } = record.ref;
    const stream = durableStreamName(tenantId, path);
    const presence = await durableStreamStub(streams, stream).tellFromNowOn(stream, record.ref.id);
    if (store.record?.instance === record.instance) links.settle(path, presence);
  }
}

/** The stream that wakes are written to is never one of those that cause them. */
export function isOwnChannel(record: SubscriptionRecord | null, path: string): boolean {
  return record?.config.channel.type === "pull-wake" && record.config.channel.wakeStream === path;
}
