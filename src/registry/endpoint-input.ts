import type { EndpointAuth } from "../delivery/endpoint-auth.ts";
import type { DeliveryFormat } from "../delivery/endpoint.ts";
import type { EndpointRow } from "../storage/endpoint-row.ts";
import type { FilterScope } from "../storage/subscriptions.ts";
import { HEADER_MASK, SECRET_MASK } from "./endpoint-view.ts";
import type { Fault } from "./refusal.ts";

/** What may be asked of an endpoint at any time. */
export type EndpointSettings = {
  readonly name: string | null;
  readonly node: string | null;
  readonly url: string | null;
  readonly format: DeliveryFormat;
  /** Names in lower case. */
  readonly headers: Readonly<Record<string, string>> | null;
  /** Whether the tenant's Ed25519 key signs too. */
  readonly asymmetric: boolean;
  readonly auth: EndpointAuth | null;
  /** Whether its receiver has to allow it before anything is sent. */
  readonly handshake: boolean;
  readonly timeoutSeconds: number;
  /** Seconds between attempts. */
  readonly retrySchedule: readonly number[];
  readonly rateLimit: number | null;
  readonly maxConcurrency: number | null;
  readonly ordered: boolean;
  readonly orderingKey: string | null;
  readonly fallback: "pull" | null;
  readonly description: string | null;
  readonly metadata: EndpointRow["metadata"] | null;
};

/** The shorthand for subscriptions: each pattern with the same filter and queue. */
export type TopicsShorthand = {
  readonly topics: readonly string[];
  readonly filter: Readonly<Record<string, unknown>> | null;
  readonly filterScope: FilterScope;
  readonly queue: string | null;
};

export type NewEndpoint = EndpointSettings & {
  readonly kind: "push" | "pull";
  readonly secret?: string | undefined;
} & TopicsShorthand;

type Optional<Fields> = { readonly [Name in keyof Fields]?: Fields[Name] | undefined };

/** What is left out stays as it is. */
export type EndpointPatch = Optional<EndpointSettings> & Optional<TopicsShorthand>;

/** Whether an endpoint of this kind may have this URL (undefined: keeps the one it has). */
export function urlFault(kind: "push" | "pull", url: string | null | undefined): Fault | null {
  if (url === undefined) return null;
  if (kind === "push" && url === null) return { pointer: "/url", detail: "is needed: a push endpoint is a URL" };
  if (kind === "pull" && url !== null) return { pointer: "/url", detail: "leave it out: a pull endpoint has no URL" };
  return null;
}

/** Whether there may be an ordering key: only what is in order can be so by a key. */
export function orderingFault({ ordered, orderingKey }: { readonly ordered: boolean; readonly orderingKey: string | null }): Fault | null {
  return orderingKey === null || ordered ? null : { pointer: "/orderingKey", detail: "is the order's: set `ordered` to true with it, or leave it out (null)" };
}

/**
 * The credentials with a masked secret replaced by the one that is stored. It goes where it went before only: who may
 * not read it must not have it sent to another place.
 */
export function unmaskAuth(
  given: EndpointAuth | null,
  stored: EndpointAuth | null,
): { readonly auth: EndpointAuth | null; readonly faults: readonly Fault[] } {
  if (given?.kind !== "oauth2" || given.clientSecret !== SECRET_MASK) return { auth: given, faults: [] };
  if (stored?.kind === "oauth2" && stored.tokenUrl === given.tokenUrl && stored.clientId === given.clientId) {
    return { auth: { ...given, clientSecret: stored.clientSecret }, faults: [] };
  }
  const detail = `\`${SECRET_MASK}\` stands for the stored secret of the same \`tokenUrl\` and \`clientId\`: send the secret`;
  return { auth: null, faults: [{ pointer: "/auth/clientSecret", detail }] };
}

/** The custom headers with every masked value replaced by the one that is stored; a fault for each there is none of. */
export function unmaskHeaders(
  given: Readonly<Record<string, string>>,
  stored: Readonly<Record<string, string>>,
): { readonly headers: Record<string, string>; readonly faults: readonly Fault[] } {
  const headers: Record<string, string> = {};
  const faults: Fault[] = [];
  for (const [name, value] of Object.entries(given)) {
    const kept = Object.hasOwn(stored, name) ? stored[name] : undefined;
    if (value !== HEADER_MASK) headers[name] = value;
    else if (kept !== undefined) headers[name] = kept;
    else faults.push({ pointer: `/headers/${name}`, detail: `\`${HEADER_MASK}\` stands for a stored value: send the value` });
  }
  return { headers, faults };
}
