import type { BoxedMessage } from "./durable-object-contract.ts";

type MessageRow = { seq: number; envelope: string; body: ArrayBuffer | null };

/** Ordered: how far into the box a message of a free group is looked for (SQS FIFO queues have such a bound too). */
const MAX_SCANNED = 10_000;
const DEFAULT_GROUP = "default";
/** One statement for many rows: of what a call costs, most is by the statement. */
export const IS_ONE_OF = "seq IN (SELECT value FROM json_each(?))";

/** The messages and dead letters of one mailbox, in its object's SQLite. All calls are synchronous. */
export class BoxMessages {
  readonly #sql: SqlStorage;
  #nextSeq: number;
  /** Null until somebody asks, for counting reads every row. */
  #count: number | null = null;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    const { last } = sql
      .exec<{ last: number }>(
        `SELECT max(
           coalesce((SELECT max(seq) FROM messages), 0),
           coalesce((SELECT max(seq) FROM dead_letters), 0)
         ) AS last`,
      )
      .one();
    this.#nextSeq = last + 1;
  }

  add(message: BoxedMessage, nowMs: number): void {
    const { body, ...envelope } = message;
    this.#sql.exec(
      "INSERT INTO messages (seq, sent_at, group_key, envelope, body) VALUES (?, ?, ?, ?, ?)",
      this.#nextSeq,
      nowMs,
      message.groupKey ?? DEFAULT_GROUP,
      JSON.stringify(envelope),
      body,
    );
    this.#nextSeq++;
    this.#counted(1);
  }

  /** By their numbers; what is not there is left out. */
  read(seqs: readonly number[]): ReadonlyMap<number, BoxedMessage> {
    const rows = this.#sql.exec<MessageRow>(`SELECT seq, envelope, body FROM messages WHERE ${IS_ONE_OF}`, JSON.stringify(seqs));
    return new Map([...rows].map(({ seq, envelope, body }) => [seq, parseRow(envelope, body)]));
  }

  /** The first messages from `fromSeq` on that nobody has received. */
  fresh(fromSeq: number, limit: number, isReceived: (seq: number) => boolean): number[] {
    const seqs: number[] = [];
    if (limit === 0) return seqs;
    for (const { seq } of this.#sql.exec<{ seq: number }>("SELECT seq FROM messages WHERE seq >= ? ORDER BY seq", fromSeq)) {
      if (!isReceived(seq)) seqs.push(seq);
      if (seqs.length === limit) break;
    }
    return seqs;
  }

  /** The first message of each group, unless it is hidden: then its group waits. */
  heads(limit: number, isHidden: (seq: number) => boolean): number[] {
    const groups = new Set<string>();
    const seqs: number[] = [];
    const rows = this.#sql.exec<{ seq: number; group_key: string }>("SELECT seq, group_key FROM messages ORDER BY seq LIMIT ?", MAX_SCANNED);
    for (const { seq, group_key } of rows) {
      if (groups.has(group_key)) continue;
      groups.add(group_key);
      if (!isHidden(seq)) seqs.push(seq);
      if (seqs.length === limit) break;
    }
    return seqs;
  }

  /** All of them are there. */
  remove(seqs: readonly number[]): void {
    this.#sql.exec(`DELETE FROM messages WHERE ${IS_ONE_OF}`, JSON.stringify(seqs));
    this.#counted(-seqs.length);
  }

  /** Makes them dead letters. */
  bury(seqs: readonly number[]): void {
    this.#sql.exec(
      `INSERT INTO dead_letters (seq, sent_at, group_key, envelope, body)
       SELECT seq, sent_at, group_key, envelope, body FROM messages WHERE ${IS_ONE_OF}`,
      JSON.stringify(seqs),
    );
    this.remove(seqs);
  }

  /** Makes dead letters messages again, as if sent now: how many. */
  revive(nowMs: number): number {
    const dead = this.#sql.exec<{ seq: number }>("SELECT seq FROM dead_letters ORDER BY seq").toArray();
    for (const { seq } of dead) {
      this.#sql.exec(
        `INSERT INTO messages (seq, sent_at, group_key, envelope, body)
         SELECT ?, ?, group_key, envelope, body FROM dead_letters WHERE seq = ?`,
        this.#nextSeq++,
        nowMs,
        seq,
      );
    }
    this.#sql.exec("DELETE FROM dead_letters");
    this.#counted(dead.length);
    return dead.length;
  }

  /** Removes a message, and what it became as a dead letter; what it was. Reads every row: nobody does it often. */
  expunge(id: string, offset: number): number[] {
    const isIt = "envelope ->> 'id' = ? AND envelope ->> 'offset' = ?";
    for (const table of ["messages", "dead_letters"]) {
      // a row that is deleted leaves its bytes in the file until something else needs their place
      this.#sql.exec(`UPDATE ${table} SET body = zeroblob(length(body)) WHERE ${isIt} AND body IS NOT NULL`, id, offset);
    }
    const found = this.#sql.exec<{ seq: number }>(`SELECT seq FROM messages WHERE ${isIt}`, id, offset).toArray();
    const seqs = found.map(({ seq }) => seq);
    this.remove(seqs);
    this.#sql.exec(`DELETE FROM dead_letters WHERE ${isIt}`, id, offset);
    return seqs;
  }

  clear(): void {
    this.#sql.exec("DELETE FROM messages");
    this.#count = 0;
  }

  /** Removes what was sent before; the first messages of the box, for sends are in order. */
  expire(sentBeforeMs: number, deadSentBeforeMs: number): number[] {
    const expired = this.#sql
      .exec<{ seq: number; sent_at: number }>("SELECT seq, sent_at FROM messages ORDER BY seq");
    const seqs: number[] = [];
    for (const { seq, sent_at } of expired) {
      if (sent_at > sentBeforeMs) break;
      seqs.push(seq);
    }
    this.remove(seqs);
    this.#sql.exec("DELETE FROM dead_letters WHERE sent_at <= ?", deadSentBeforeMs);
    return seqs;
  }

  oldestSentAtMs(): number | null {
    const [oldest] = this.#sql.exec<{ sent_at: number }>("SELECT sent_at FROM messages ORDER BY seq LIMIT 1").toArray();
    return oldest?.sent_at ?? null;
  }

  oldestDeadSentAtMs(): number | null {
    return this.#sql.exec<{ oldest: number | null }>("SELECT min(sent_at) AS oldest FROM dead_letters").one().oldest;
  }

  count(): number {
    this.#count ??= this.#sql.exec<{ count: number }>("SELECT count(*) AS count FROM messages").one().count;
    return this.#count;
  }

  deadCount(): number {
    return this.#sql.exec<{ count: number }>("SELECT count(*) AS count FROM dead_letters").one().count;
  }

  #counted(change: number): void {
    if (this.#count !== null) this.#count += change;
  }
}

/** The cast is of what `add` wrote: nothing else writes these rows. */
function parseRow(envelope: string, body: ArrayBuffer | null): BoxedMessage {
  const message = JSON.parse(envelope) as Omit<BoxedMessage, "body">;
  return { ...message, body: body === null ? null : new Uint8Array(body) };
}
