import { type AttemptPackRow, attemptsOf, PACK_SECOND_MS, RESPONSE_BODY_INDEX, secondOf, secondsOfFirstAttempts } from "./attempt-pack.ts";
import { Conditions } from "./conditions.ts";
import type { Period } from "./history-messages.ts";
import { type AttemptEntry, type DeliveryEntry, isEndpoint } from "./history-row.ts";
import { descending, distinct, newestItems } from "./newest-items.ts";

/** The sort key of an attempt, and of a list of them where the page before ended. */
export type AttemptPosition = readonly [timeMs: number, stream: string, offset: number, target: string];

export type AttemptFilter = Period & {
  readonly outcome?: "succeeded" | "failed" | undefined;
  readonly topic?: string | undefined;
};

type PackRow = AttemptPackRow & { readonly number: number };

export function positionOfAttempt({ timeMs, stream, offset, target }: AttemptEntry): AttemptPosition {
  return [timeMs, stream, offset, target];
}

/** Attempts at one endpoint, newest first, after the position `after`. */
export async function listAttempts(
  db: D1Database,
  tenantId: string,
  endpointId: string,
  filter: AttemptFilter,
  page: { readonly after: AttemptPosition | undefined; readonly limit: number },
): Promise<AttemptEntry[]> {
  const { outcome, sinceMs = Number.MIN_SAFE_INTEGER, untilMs = Number.MAX_SAFE_INTEGER } = filter;
  const { after, limit } = page;
  const isListed = (attempt: AttemptEntry): boolean =>
    (outcome === undefined || (outcome === "failed") === (attempt.error !== null)) &&
    attempt.timeMs >= sinceMs && attempt.timeMs < untilMs &&
    (after === undefined || descending(after, positionOfAttempt(attempt)) < 0);
  return newestItems<PackRow, AttemptEntry>(
    {
      packsAfter: async (pack, count) => {
        const where = packConditions(tenantId, endpointId, filter, after);
        if (pack !== undefined) where.add("(a.time, a.stream, a.number) < (?, ?, ?)", pack.time, pack.stream, pack.number);
        const { results } = await db
          .prepare(
            `SELECT a.endpoint_id, a.time, a.stream, a.number, a.topic, a.attempts
             FROM attempt_packs a ${outcome === "failed" ? "INDEXED BY attempt_packs_failed" : ""}
             WHERE ${where.sql} ORDER BY a.time DESC, a.stream DESC, a.number DESC LIMIT ?`,
          )
          .bind(...where.values, count)
          .all<PackRow>();
        return results;
      },
      newestMs: (pack) => pack.time + PACK_SECOND_MS - 1,
      itemsOf: (pack) => attemptsOf(pack).filter(isListed),
      timeMs: (attempt) => attempt.timeMs,
      compare: (left, right) => descending(positionOfAttempt(left), positionOfAttempt(right)),
    },
    limit,
  );
}

/** Packs that may hold attempts of the list. */
function packConditions(
  tenantId: string,
  endpointId: string,
  { outcome, topic, sinceMs, untilMs }: AttemptFilter,
  after: AttemptPosition | undefined,
): Conditions {
  const where = new Conditions("a.tenant_id = ? AND a.endpoint_id = ?", tenantId, endpointId);
  if (outcome === "failed") where.add("a.failed > 0");
  if (outcome === "succeeded") where.add("a.count > a.failed");
  if (topic !== undefined) where.add("a.topic = ?", topic);
  if (sinceMs !== undefined) where.add("a.time >= ?", secondOf(sinceMs));
  const newestMs = Math.min(untilMs ?? Number.POSITIVE_INFINITY, after?.[0] ?? Number.POSITIVE_INFINITY);
  if (Number.isFinite(newestMs)) where.add("a.time <= ?", secondOf(newestMs));
  return where;
}

/** Packs `a` of the tenant ?2 at places, which are bound to ?1: one for each place it is at. */
const PACKS_AT_PLACES = `json_each(?1) k CROSS JOIN attempt_packs a
  ON a.tenant_id = ?2 AND a.endpoint_id = k.value ->> 0 AND a.time BETWEEN k.value ->> 1 AND k.value ->> 2
  AND a.stream = k.value ->> 3 AND a.first_offset <= k.value ->> 4 AND a.last_offset >= k.value ->> 4`;

/** All attempts of these deliveries, oldest first. */
export async function listAttemptsOf(
  db: D1Database,
  tenantId: string,
  deliveries: readonly DeliveryEntry[],
): Promise<AttemptEntry[]> {
  const places = deliveries.flatMap(placesOf);
  if (places.length === 0) return [];
  const messages = deliveries.map(({ stream, offset }) => [stream, offset]);
  const { results } = await db
    .prepare(
      // each pack once, for many of the attempts may be in it
      `SELECT p.endpoint_id, p.time, p.stream, p.topic, json_array(json(i.value)) AS attempts
       FROM (SELECT a.endpoint_id, a.time, a.stream, a.topic, a.attempts
             FROM ${PACKS_AT_PLACES}
             GROUP BY a.endpoint_id, a.time, a.stream, a.number) p
       CROSS JOIN json_each(p.attempts) i
       WHERE (p.stream, i.value ->> 0) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3))`,
    )
    .bind(JSON.stringify(places), tenantId, JSON.stringify(messages))
    .all<AttemptPackRow>();
  const wanted = new Set(deliveries.map(({ stream, offset, target }) => `${stream} ${offset} ${target}`));
  const made = results.flatMap(attemptsOf).filter(({ stream, offset, target }) => wanted.has(`${stream} ${offset} ${target}`));
  return distinct(made, (left, right) => descending(positionOfAttempt(right), positionOfAttempt(left)));
}

/** Removes what was answered to all attempts of these deliveries, which are still listed. */
export async function clearResponsesOf(db: D1Database, tenantId: string, deliveries: readonly DeliveryEntry[]): Promise<void> {
  const places = deliveries.flatMap(placesOf);
  if (places.length === 0) return;
  const messages = deliveries.map(({ stream, offset }) => [stream, offset]);
  await db
    .prepare(
      // in one statement, for two messages of a pack may be expunged at the same time
      `UPDATE attempt_packs AS p SET attempts = (
         SELECT json_group_array(json(iif((p.stream, i.value ->> 0) IN (SELECT value ->> 0, value ->> 1 FROM json_each(?3)),
           json_replace(i.value, '$[${RESPONSE_BODY_INDEX}]', ''), i.value)))
         FROM json_each(p.attempts) i)
       WHERE (p.tenant_id, p.endpoint_id, p.time, p.stream, p.number) IN (
         SELECT a.tenant_id, a.endpoint_id, a.time, a.stream, a.number FROM ${PACKS_AT_PLACES})`,
    )
    .bind(JSON.stringify(places), tenantId, JSON.stringify(messages))
    .run();
}

type Place = readonly [endpointId: string, fromMs: number, toMs: number, stream: string, offset: number];

/** Where attempts of a delivery are: the packs of the time when it was published, and of those it names itself. */
function placesOf({ target, takers, messageTimeMs, stream, offset, attemptKeys }: DeliveryEntry): Place[] {
  const attempted = isEndpoint(target) ? [target] : takers;
  return [
    ...attempted.map((endpointId): Place => [endpointId, ...secondsOfFirstAttempts(messageTimeMs), stream, offset]),
    ...attemptKeys.map(({ endpointId, timeMs }): Place => [endpointId, secondOf(timeMs), secondOf(timeMs), stream, offset]),
  ];
}
