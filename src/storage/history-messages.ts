import { Conditions } from "./conditions.ts";
import type { MessageEntry } from "./history-row.ts";
import { type MessagePackRow, messagesOf, PACK_SPAN_MS, timesById } from "./message-pack.ts";
import { descending, distinct, newestItems } from "./newest-items.ts";

// The tables are not ANALYZEd, so SQLite guesses, and prefers a primary key: INDEXED BY says which index a list is
// made for.

/** A stretch of time, `sinceMs` within and `untilMs` without. */
export type Period = { readonly sinceMs?: number | undefined; readonly untilMs?: number | undefined };

/** The sort key of a message, and of a list of them where the page before ended. */
export type MessagePosition = readonly [timeMs: number, stream: string, offset: number];

/** Of a pack `p`, with what was expunged of it. */
const PACK_COLUMNS = `p.time, p.stream, p.first_offset, p.first_time, p.topic, p.messages,
  (SELECT json_group_array(json_array(x.offset, x.expunged_at)) FROM history_expunged x
   WHERE x.tenant_id = p.tenant_id AND x.time BETWEEN p.first_time AND p.time AND x.stream = p.stream) AS expunged`;

/** Messages of an id that a publisher uses again and again, looked at in one go. */
const MESSAGES_AT_ONCE = 25;
/** An id of ours is that of one message and its copies in queues; whoever chooses such ids may have more of one. */
const MAX_TIMED_PACKS = 250;

export function positionOf({ timeMs, stream, offset }: Pick<MessageEntry, "timeMs" | "stream" | "offset">): MessagePosition {
  return [timeMs, stream, offset];
}

/** Messages of the tenant, newest first, after the position `after`. */
export async function listMessages(
  db: D1Database,
  tenantId: string,
  filter: Period & { readonly topic?: string | undefined },
  page: { readonly after: MessagePosition | undefined; readonly limit: number },
): Promise<MessageEntry[]> {
  const { topic, sinceMs = Number.MIN_SAFE_INTEGER, untilMs = Number.MAX_SAFE_INTEGER } = filter;
  const { after, limit } = page;
  const isListed = (message: MessageEntry): boolean =>
    message.timeMs >= sinceMs && message.timeMs < untilMs && (after === undefined || descending(after, positionOf(message)) < 0);
  return newestItems<MessagePackRow, MessageEntry>(
    {
      packsAfter: async (pack, count) => {
        const where = packConditions(tenantId, filter, after);
        if (pack !== undefined) where.add("(p.time, p.stream, p.first_offset) < (?, ?, ?)", pack.time, pack.stream, pack.first_offset);
        const { results } = await db
          .prepare(
            `SELECT ${PACK_COLUMNS} FROM message_packs p ${topic === undefined ? "" : "INDEXED BY message_packs_by_topic"}
             WHERE ${where.sql} ORDER BY p.time DESC, p.stream DESC, p.first_offset DESC LIMIT ?`,
          )
          .bind(...where.values, count)
          .all<MessagePackRow>();
        return results;
      },
      newestMs: (pack) => pack.time,
      itemsOf: (pack) => messagesOf(pack).filter(isListed),
      timeMs: (message) => message.timeMs,
      compare: newestFirst,
    },
    limit,
  );
}

/** Packs that may hold messages of the list. */
function packConditions(
  tenantId: string,
  { topic, sinceMs, untilMs }: Period & { readonly topic?: string | undefined },
  after: MessagePosition | undefined,
): Conditions {
  const where = new Conditions("p.tenant_id = ?", tenantId);
  if (topic !== undefined) where.add("p.topic = ?", topic);
  if (sinceMs !== undefined) where.add("p.time >= ?", sinceMs);
  const newestMs = Math.min(untilMs ?? Number.POSITIVE_INFINITY, after?.[0] ?? Number.POSITIVE_INFINITY);
  // `+`: the bound of the cursor or of the pack before is the tighter one
  if (Number.isFinite(newestMs)) where.add("p.time <= ? AND +p.first_time <= ?", newestMs + PACK_SPAN_MS, newestMs);
  return where;
}

/** Which messages: a publisher may give several the same id, in time or in other topics. `topic` narrows. */
type WithId = { readonly id: string; readonly topic: string | undefined };

/**
 * The message of the tenant with this id. Of several, one of a topic comes before those of queues, for an event that
 * became a queue's message kept its id; then the newest counts.
 */
export async function findMessage(db: D1Database, tenantId: string, id: string, topic: string | undefined): Promise<MessageEntry | null> {
  const [indexed, timed] = await Promise.all([
    indexedMessages(db, tenantId, { id, topic }, { before: undefined, limit: 1, topicsFirst: true }),
    timedMessages(db, tenantId, { id, topic }),
  ]);
  const rank = (message: MessageEntry) => [message.stream.includes("/topics/") ? 1 : 0, ...positionOf(message)];
  return [...indexed.messages, ...timed].sort((left, right) => descending(rank(left), rank(right)))[0] ?? null;
}

/** All messages with this id, newest first, in portions; from the position `from` on, if there is one. */
export async function* messagesWithId(
  db: D1Database,
  tenantId: string,
  of: WithId,
  from: MessagePosition | undefined,
): AsyncGenerator<MessageEntry[]> {
  let timed = (await timedMessages(db, tenantId, of)).filter((message) => from === undefined || descending(from, positionOf(message)) <= 0);
  let before: Before | undefined = from === undefined ? undefined : { position: from, inclusive: true };
  for (;;) {
    const { messages, last } = await indexedMessages(db, tenantId, of, { before, limit: MESSAGES_AT_ONCE, topicsFirst: false });
    const isDue = (message: MessageEntry): boolean => last === null || descending(positionOf(message), last) < 0;
    yield [...messages, ...timed.filter(isDue)].sort(newestFirst);
    if (last === null) return;
    timed = timed.filter((message) => !isDue(message));
    before = { position: last, inclusive: false };
  }
}

/** Messages that the time in their id leads to: few, for no other message has the id but its copies in queues. */
async function timedMessages(db: D1Database, tenantId: string, { id, topic }: WithId): Promise<MessageEntry[]> {
  const times = timesById(id);
  if (times === null) return [];
  const where = new Conditions("p.tenant_id = ? AND p.time >= ? AND p.time <= ?", tenantId, times.fromMs, times.toMs + PACK_SPAN_MS);
  if (topic !== undefined) where.add("p.topic = ?", topic);
  // cheaper than to parse each; what has the text elsewhere is left out below
  where.add("instr(p.messages, ?) > 0", JSON.stringify(id));
  const { results } = await db
    .prepare(
      `SELECT ${PACK_COLUMNS} FROM message_packs p ${topic === undefined ? "" : "INDEXED BY message_packs_by_topic"}
       WHERE ${where.sql} ORDER BY instr(p.stream, '/topics/') > 0 DESC, p.time DESC LIMIT ${MAX_TIMED_PACKS}`,
    )
    .bind(...where.values)
    .all<MessagePackRow>();
  // those that were committed before or after have a row of their own
  const found = results.flatMap(messagesOf).filter(({ id: one, timeMs }) => one === id && timeMs >= times.fromMs && timeMs <= times.toMs);
  return distinct(found, newestFirst);
}

type Before = { readonly position: MessagePosition; readonly inclusive: boolean };

/**
 * Messages that a row of `message_ids` leads to, newest first. `last` is where the next ones begin; null when these are
 * all there are.
 */
async function indexedMessages(
  db: D1Database,
  tenantId: string,
  { id, topic }: WithId,
  { before, limit, topicsFirst }: { readonly before: Before | undefined; readonly limit: number; readonly topicsFirst: boolean },
): Promise<{ readonly messages: readonly MessageEntry[]; readonly last: MessagePosition | null }> {
  const where = new Conditions("i.tenant_id = ? AND i.id = ?", tenantId, id);
  if (topic !== undefined) where.add("i.stream IN (?, ?, ?)", ...["topics", "queues", "nodes"].map((kind) => `${tenantId}/${kind}/${topic}`));
  if (before !== undefined) where.add(`(i.time, i.stream, i.offset) ${before.inclusive ? "<=" : "<"} (?, ?, ?)`, ...before.position);
  const order = `${topicsFirst ? "instr(i.stream, '/topics/') > 0 DESC, " : ""}i.time DESC, i.stream DESC, i.offset DESC`;
  const { results } = await db
    .prepare(
      `SELECT i.time AS message_time, i.stream AS message_stream, i.offset AS message_offset, ${PACK_COLUMNS}
       FROM (SELECT i.time, i.stream, i.offset FROM message_ids i WHERE ${where.sql} ORDER BY ${order} LIMIT ?) i
       LEFT JOIN message_packs p ON p.tenant_id = ? AND p.time BETWEEN i.time AND i.time + ${PACK_SPAN_MS} AND p.stream = i.stream
         AND p.first_offset <= i.offset AND p.first_offset + p.count > i.offset`,
    )
    .bind(...where.values, limit, tenantId)
    .all<IndexedRow>();
  const positions = distinct(
    results.map((row): MessagePosition => [row.message_time, row.message_stream, row.message_offset]),
    descending,
  );
  const messages = results.flatMap((row) => (isFound(row) ? messagesOf(row).filter(({ offset }) => offset === row.message_offset) : []));
  return { messages: distinct(messages, newestFirst), last: positions.length < limit ? null : (positions.at(-1) ?? null) };
}

type IndexRow = { readonly message_time: number; readonly message_stream: string; readonly message_offset: number };
type FoundRow = IndexRow & MessagePackRow;
type IndexedRow = FoundRow | (IndexRow & { readonly messages: null });

function isFound(row: IndexedRow): row is FoundRow {
  return row.messages !== null;
}

function newestFirst(left: MessageEntry, right: MessageEntry): number {
  return descending(positionOf(left), positionOf(right));
}

/** Records that the bytes of a message are gone; part of a batch. */
export function markExpunged(
  db: D1Database,
  tenantId: string,
  { timeMs, stream, offset }: Pick<MessageEntry, "timeMs" | "stream" | "offset">,
  nowMs: number,
): D1PreparedStatement {
  return db
    .prepare(
      `INSERT INTO history_expunged (tenant_id, time, stream, offset, expunged_at) VALUES (?, ?, ?, ?, ?)
       ON CONFLICT DO NOTHING`,
    )
    .bind(tenantId, timeMs, stream, offset, nowMs);
}
