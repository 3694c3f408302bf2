import { z } from "zod";

export type SubscriptionState = "confirmed" | "unsubscribed";

/** What SNS last said about our subscription to a topic. */
export type SourceSubscription = {
  readonly topicArn: string;
  readonly state: SubscriptionState;
  readonly subscriptionArn: string | null;
  readonly updatedAtMs: number;
};

const SubscriptionRow = z.object({
  source_id: z.string(),
  topic_arn: z.string(),
  state: z.enum(["confirmed", "unsubscribed"]),
  subscription_arn: z.string().nullable(),
  updated_at: z.number(),
});

/** The last word of SNS on each topic, by source id. */
export async function listSubscriptionStates(
  db: D1Database,
  sourceIds: readonly string[],
): Promise<Map<string, SourceSubscription[]>> {
  const { results } = await db
    .prepare(
      `SELECT source_id, topic_arn, state, subscription_arn, updated_at FROM source_subscriptions
       WHERE source_id IN (SELECT value FROM json_each(?1))`,
    )
    .bind(JSON.stringify(sourceIds)) // one parameter, for D1 takes 100 at most
    .all();
  const states = new Map<string, SourceSubscription[]>();
  for (const result of results) {
    const row = SubscriptionRow.parse(result);
    const known = states.get(row.source_id) ?? [];
    known.push({
      topicArn: row.topic_arn,
      state: row.state,
      subscriptionArn: row.subscription_arn,
      updatedAtMs: row.updated_at,
    });
    states.set(row.source_id, known);
  }
  return states;
}

/** Records what SNS said about a subscription; nothing when the source is gone. */
export async function recordSubscriptionState(
  db: D1Database,
  sourceId: string,
  topicArn: string,
  state: SubscriptionState,
  subscriptionArn: string | null,
  nowMs: number,
): Promise<void> {
  await db
    .prepare(
      `INSERT INTO source_subscriptions (source_id, topic_arn, state, subscription_arn, updated_at)
       SELECT id, ?2, ?3, ?4, ?5 FROM sources WHERE id = ?1
       ON CONFLICT (source_id, topic_arn) DO UPDATE SET
         state = excluded.state, subscription_arn = excluded.subscription_arn, updated_at = excluded.updated_at`,
    )
    .bind(sourceId, topicArn, state, subscriptionArn, nowMs)
    .run();
}

