import { CACHE_MAX_AGE_MS } from "../delivery/freshness.ts";
import { matchSubscriptions } from "../storage/subscriptions.ts";
import { type CompiledPolicy, compileFilterPolicy, matchesFilter } from "./filter-policy.ts";
import type { NewMessage } from "./message.ts";
import { matchesTopic, parsePattern, topicKeys } from "./topic.ts";

/** A subscription that matches a topic, its filter compiled. */
type Route = { readonly endpointId: string; readonly policy: CompiledPolicy | null };

type Entry = { readonly readAtMs: number; readonly routes: readonly Route[] };

const MAX_ENTRIES = 10_000;

/**
 * Who subscribes to what, for the topics this isolate published lately: copies at most a second old, counted from
 * before they were read. A tenant's subscriptions are found by index, so the work grows with the matches only.
 */
export class RouteTable {
  readonly #entries = new Map<string, Entry>();

  /** The endpoints a message goes to, each once. Throws when D1 can not be read. */
  async endpointsFor(
    db: D1Database,
    tenantId: string,
    topic: string,
    messages: readonly NewMessage[],
    nowMs: number,
  ): Promise<string[][]> {
    const routes = await this.#routes(db, tenantId, topic, nowMs);
    return messages.map((message) => matching(routes, message));
  }

  async #routes(db: D1Database, tenantId: string, topic: string, nowMs: number): Promise<readonly Route[]> {
    const key = `${tenantId}/${topic}`;
    const known = this.#entries.get(key);
    if (known !== undefined && nowMs - known.readAtMs < CACHE_MAX_AGE_MS) return known.routes;
    const rows = await matchSubscriptions(db, tenantId, topicKeys(topic));
    const routes: Route[] = [];
    for (const row of rows) {
      const pattern = parsePattern(row.topic);
      if (row.queue !== null || !pattern.ok || !matchesTopic(pattern.pattern, topic)) continue;
      routes.push({ endpointId: row.endpointId, policy: compiled(row.filter, row.filterScope) });
    }
    if (this.#entries.size > MAX_ENTRIES) this.#entries.clear();
    this.#entries.set(key, { readAtMs: nowMs, routes });
    return routes;
  }
}

function matching(routes: readonly Route[], message: NewMessage): string[] {
  let text: string | null | undefined;
  const bodyText = (): string | null => (text === undefined ? (text = decodeUtf8(message.body)) : text);
  const endpointIds = new Set<string>();
  for (const { endpointId, policy } of routes) {
    if (policy === null || matchesFilter(policy, { attributes: message.attributes, bodyText })) endpointIds.add(endpointId);
  }
  return [...endpointIds];
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
