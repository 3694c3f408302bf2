import { queueTarget } from "../delivery/destination.ts";
import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { RecentReads } from "../recent-reads.ts";
import { matchSubscriptions } from "../storage/subscriptions.ts";
import { type CompiledPolicy, compileFilterPolicy, matchesFilter } from "./filter-policy.ts";
import type { Append } from "../streams/contract.ts";
import type { NewMessage } from "./message.ts";
import { matchesTopic, parsePattern, topicKeys } from "./topic.ts";

/** What a topic leads to, with the filter that a message must pass, compiled. */
type Route = {
  readonly target: string;
  readonly ordered: boolean;
  /** The attribute that makes lanes; null: there is one. */
  readonly orderingKey: string | null;
  readonly policy: CompiledPolicy | null;
};

/** Where a message goes, each target once: in any order, and in the order of the stream. */
export type Targets = Pick<Append, "endpointIds" | "orderingKeys"> & { readonly orderedIds: readonly string[] };

const MAX_ENTRIES = 10_000;

/**
 * Who subscribes to what, for the topics this isolate published lately: copies at most a second old, counted from
 * before they were read. A tenant's subscriptions are found by index, so the work grows with the matches only.
 */
export class RouteTable {
  readonly #recent = new RecentReads<readonly Route[]>(CACHE_MAX_AGE_MS, MAX_ENTRIES);

  /** After a change that this isolate made itself. */
  forget(nowMs: number): void {
    this.#recent.forget(nowMs);
  }

  /**
   * The targets a message goes to, each once: endpoints, and `queue:<name>` for a queue that is bound to the topic, by
   * itself or through any of its members' subscriptions. Throws when D1 can not be read.
   */
  async endpointsFor(
    db: D1Database,
    tenantId: string,
    topic: string,
    messages: readonly NewMessage[],
    nowMs: number,
    inBackground: (promise: Promise<unknown>) => void,
  ): Promise<Targets[]> {
    const key = `${tenantId}/${topic}`;
    const routes = await this.#recent.getOrRead(key, nowMs, () => readRoutes(db, tenantId, topic), inBackground);
    return messages.map((message) => matching(routes, message));
  }
}

async function readRoutes(db: D1Database, tenantId: string, topic: string): Promise<Route[]> {
  const { subscriptions, boundQueues } = await matchSubscriptions(db, tenantId, topicKeys(topic));
  const matches = ({ topic: text }: { readonly topic: string }): boolean => {
    const pattern = parsePattern(text);
    return pattern.ok && matchesTopic(pattern.pattern, topic);
  };
  // the unfiltered first: what they reach needs no filter to be tried
  return [
    ...boundQueues.filter(matches).map(({ queue }) => ({ target: queueTarget(queue), ordered: false, orderingKey: null, policy: null })),
    ...subscriptions.filter(matches).map(({ endpointId, ordered, orderingKey, queue, filter, filterScope }) => ({
      target: queue === null ? endpointId : queueTarget(queue),
      ordered: queue === null && ordered,
      orderingKey,
      policy: compiled(filter, filterScope),
    })),
  ];
}

function matching(routes: readonly Route[], message: NewMessage): Targets {
  let text: string | null | undefined;
  const bodyText = (): string | null => (text === undefined ? (text = decodeUtf8(message.body)) : text);
  const targets = new Map<string, Route>();
  for (const route of routes) {
    const { target, policy } = route;
    if (targets.has(target)) continue;
    if (policy === null || matchesFilter(policy, { attributes: message.attributes, bodyText })) targets.set(target, route);
  }
  const all = [...targets.values()];
  const keyed = all.flatMap(({ target, ordered, orderingKey }) => (ordered && orderingKey !== null ? [[target, orderingKey] as const] : []));
  return {
    endpointIds: all.filter(({ ordered }) => !ordered).map(({ target }) => target),
    orderedIds: all.filter(({ ordered }) => ordered).map(({ target }) => target),
    ...(keyed.length === 0 ? {} : { orderingKeys: Object.fromEntries(keyed) }),
  };
}

/** Stored policies were compiled once already, when they were accepted; one that no longer compiles is a bug. */
function compiled(filter: string | null, scope: "attributes" | "body"): CompiledPolicy | null {
  if (filter === null) return null;
  const result = compileFilterPolicy(JSON.parse(filter), scope);
  if (!result.ok) throw new Error("a stored filter policy does not compile");
  return result.policy;
}

function decodeUtf8(bytes: Uint8Array): string | null {
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null; // not text: no body policy matches it
  }
}
