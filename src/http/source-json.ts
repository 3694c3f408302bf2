import type { z } from "@hono/zod-openapi";
import type { SourceSubscription } from "../storage/source-subscriptions.ts";
import type { SourceWithSecrets } from "../storage/sources.ts";
import { toTime } from "./schemas.ts";
import type { SourceBody } from "./source-schemas.ts";

/** A source as the API shows it: no secret. */
export function presentSource(
  { source, secrets }: SourceWithSecrets,
  states: readonly SourceSubscription[] = [],
): z.output<typeof SourceBody> {
  const shown = {
    id: source.id,
    name: source.name,
    url: `/in/${source.id}`,
    createdAt: toTime(source.createdAtMs),
    updatedAt: toTime(source.updatedAtMs),
  };
  if (source.kind !== "sns") {
    return {
      ...shown,
      kind: source.kind,
      topic: source.topic,
      deduplicateBy: source.deduplicateBy,
      hmac: source.scheme,
      secrets: secrets.map(({ id, createdAtMs, expiresAtMs }) => ({
        id,
        createdAt: toTime(createdAtMs),
        expiresAt: expiresAtMs === null ? null : toTime(expiresAtMs),
      })),
    };
  }
  return {
    ...shown,
    kind: source.kind,
    topicArns: [...source.topicArns],
    topic: source.topic,
    minVersion: source.minVersion,
    subscriptions: source.topicArns.map((topicArn) => {
      const state = states.find((known) => known.topicArn === topicArn);
      if (state === undefined) return { topicArn, state: "pending" as const, subscriptionArn: null, updatedAt: null };
      return { topicArn, state: state.state, subscriptionArn: state.subscriptionArn, updatedAt: toTime(state.updatedAtMs) };
    }),
  };
}
