import type { Attributes, EventContext, StoredMessage } from "../messages/message.ts";
import { isArchived } from "./archive-format.ts";
import type { Append, Content, OrderingKeys } from "./contract.ts";
import { offsetAtTime, oldestToKeep, type Keep } from "./log-range.ts";

/** One message in the JSON of a segment; its bytes are `size` bytes of the segment's `bodies`. */
export type LoggedMessage = {
  readonly id: string;
  readonly contentType: string;
  readonly attributes?: Attributes;
  readonly event?: EventContext;
  readonly traceparent: string;
  readonly method?: string;
  readonly publishedOn?: string;
  readonly answerByMs?: number;
  readonly size: number;
  readonly matched: number;
  /** Absent when the targets were too many and are rows of `open_deliveries` from the start. */
  readonly endpointIds?: readonly string[];
  /** Rows of `open_deliveries` from the start, every one. */
  readonly orderedIds?: readonly string[];
  readonly orderingKeys?: OrderingKeys;
  readonly expunged?: true;
};

export type SegmentRow = { first_offset: number; time: number; messages: string };

/** How far everything before it is known to be closed, and written to history. */
export type Checkpoint = { readonly settledBefore: number; readonly historyBefore: number };

/** A message of the log without its bytes. */
export type LogEntry = Omit<StoredMessage, "body"> & {
  readonly size: number;
  readonly matched: number;
  readonly endpointIds: readonly string[];
  readonly orderedIds: readonly string[];
  readonly orderingKeys?: OrderingKeys;
  readonly expunged: boolean;
};

/** SQLite in an object takes rows of 2 MB; the rest is room for one more message's metadata. */
const MAX_SEGMENT_BYTES = 1_800_000;
const MAX_SEGMENT_MESSAGES = 256;
const MAX_PARSED_SEGMENTS = 8;
/** More targets than this are rows from the start, so that a segment's row stays within its bound. */
export const MAX_LOGGED_TARGETS = 2_000;

/** The ordered, append-only log of one stream, in its object's SQLite. All calls are synchronous. */
export class SegmentLog {
  readonly #sql: SqlStorage;
  #nextOffset: number;
  #lastTimeMs: number;
  /** Bytes of every segment there ever was: `bytes_before` of the next one. */
  #bytesEver: number;
  #checkpoint: Checkpoint;
  /** The entries of the segments read last, by first offset: a batch of retries reads the same few again and again. */
  readonly #parsed = new Map<number, readonly LogEntry[]>();

  constructor(sql: SqlStorage) {
    this.#sql = sql;
    const [saved] = sql
      .exec<{ settled_before: number; history_before: number; next_offset: number }>(
        "SELECT settled_before, history_before, next_offset FROM checkpoint",
      )
      .toArray();
    const [last] = sql
      .exec<{ next_offset: number; settled_before: number; history_before: number; time: number; bytes_ever: number }>(
        `SELECT first_offset + count AS next_offset, settled_before, history_before, time,
           bytes_before + length(messages) + length(bodies) AS bytes_ever
         FROM segments ORDER BY first_offset DESC LIMIT 1`,
      )
      .toArray();
    this.#nextOffset = Math.max(saved?.next_offset ?? 0, last?.next_offset ?? 0);
    this.#lastTimeMs = last?.time ?? 0;
    this.#bytesEver = last?.bytes_ever ?? 0;
    this.#checkpoint = {
      settledBefore: Math.max(saved?.settled_before ?? 0, last?.settled_before ?? 0),
      historyBefore: Math.max(saved?.history_before ?? 0, last?.history_before ?? 0),
    };
  }

  get nextOffset(): number {
    return this.#nextOffset;
  }

  /** The first offset still there; the next one when the log is empty. */
  get earliestOffset(): number {
    return this.#oldest()?.first_offset ?? this.#nextOffset;
  }

  /** The time of the newest message, ms. Times must not go back, for they are searched by. */
  get lastTimeMs(): number {
    return this.#lastTimeMs;
  }

  /** What is kept, as it was appended: bodies and metadata. */
  get bytes(): number {
    const oldest = this.#oldest();
    return oldest === null ? 0 : this.#bytesEver - oldest.bytes_before;
  }

  /** Whether anything could go when the newest segment stays. */
  get hasOlderSegments(): boolean {
    const { several } = this.#sql
      .exec<{ several: number | null }>(
        "SELECT (SELECT min(first_offset) FROM segments) < (SELECT max(first_offset) FROM segments) AS several",
      )
      .one();
    return several === 1;
  }

  /** As it is on disk. */
  get checkpoint(): Checkpoint {
    return this.#checkpoint;
  }

  /** Writes the messages as the next ones of the log. Call within a transaction: it may be several rows. */
  append(appends: readonly Append[], timeMs: number, checkpoint: Checkpoint): LogEntry[] {
    const entries: LogEntry[] = [];
    for (const segment of segmentsOf(appends)) {
      const logged = segment.map(toLogged);
      const firstOffset = this.#nextOffset;
      const messages = JSON.stringify(logged);
      const bodies = concatenated(segment);
      this.#sql.exec(
        `INSERT INTO segments (first_offset, count, time, bytes_before, messages, bodies, settled_before, history_before)
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)`,
        firstOffset, logged.length, timeMs, this.#bytesEver, messages, bodies,
        checkpoint.settledBefore, checkpoint.historyBefore,
      );
      this.#nextOffset += logged.length;
      this.#bytesEver += messages.length + bodies.byteLength;
      logged.forEach((message, index) => entries.push(toEntry(message, firstOffset + index, timeMs)));
    }
    this.#lastTimeMs = timeMs;
    this.#checkpoint = checkpoint;
    return entries;
  }

  saveCheckpoint(checkpoint: Checkpoint): void {
    this.#sql.exec(
      `INSERT INTO checkpoint (id, settled_before, history_before, next_offset) VALUES (1, ?, ?, ?)
       ON CONFLICT (id) DO UPDATE SET settled_before = excluded.settled_before,
         history_before = excluded.history_before, next_offset = excluded.next_offset`,
      checkpoint.settledBefore, checkpoint.historyBefore, this.#nextOffset,
    );
    this.#checkpoint = checkpoint;
  }

  /** The entries from an offset on, at most `limit`, without bytes. */
  entriesFrom(offset: number, limit: number): LogEntry[] {
    const rows = this.#sql.exec<SegmentRow>(
      `SELECT first_offset, time, messages FROM segments
       WHERE first_offset >= coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?1), 0)
       ORDER BY first_offset LIMIT ?2`,
      offset, limit,
    );
    const entries: LogEntry[] = [];
    for (const row of rows) {
      for (const entry of entriesOf(row)) {
        if (entry.offset >= offset && entries.length < limit) entries.push(entry);
      }
      if (entries.length >= limit) break;
    }
    return entries;
  }

  /**
   * The segments that hold a stretch, as they are stored; the first may begin before it, the last end after it. Without
   * those in the archive.
   */
  *segmentsBetween(from: number, to: number): Generator<{ firstOffset: number; timeMs: number; messages: readonly LoggedMessage[] }> {
    if (from >= to) return;
    const rows = this.#sql.exec<SegmentRow>(
      `SELECT first_offset, time, messages FROM segments
       WHERE first_offset >= coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?1), 0) AND first_offset < ?2
       ORDER BY first_offset`,
      from, to,
    );
    for (const { first_offset: firstOffset, time: timeMs, messages } of rows) {
      if (!isArchived(messages)) yield { firstOffset, timeMs, messages: parseLogged(messages) };
    }
  }

  /** One message with its bytes; null when it is not, or no longer, in the object. */
  read(offset: number): { entry: LogEntry; message: StoredMessage } | null {
    const entries = this.#entriesAround(offset);
    const [first] = entries;
    const entry = first === undefined ? undefined : entries[offset - first.offset];
    if (first === undefined || entry === undefined) return null;
    const start = entries.slice(0, offset - first.offset).reduce((sum, { size }) => sum + size, 0);
    const { body } = this.#sql
      .exec<{ body: ArrayBuffer | null }>( // null of a segment without any
        "SELECT substr(bodies, ?, ?) AS body FROM segments WHERE first_offset = ?",
        start + 1, entry.size, first.offset,
      )
      .one();
    const bytes = new Uint8Array(body ?? new ArrayBuffer());
    // its segment is in the archive
    if (bytes.length !== entry.size) return null;
    return { entry, message: storedMessage(entry, bytes) };
  }

  content(offset: number): Content {
    const found = this.read(offset);
    if (found === null) return { ok: false, code: "not-found" };
    if (found.entry.expunged) return { ok: false, code: "expunged" };
    return { ok: true, contentType: found.message.contentType, body: found.message.body };
  }

  /** Rewrites the segment without the message's bytes; false when there is no such message. */
  expunge(offset: number): boolean {
    const row = this.#segmentOf(offset);
    if (row === null) return false;
    const logged = parseLogged(row.messages);
    const index = offset - row.first_offset;
    const target = logged[index];
    if (target === undefined) return false;
    const start = logged.slice(0, index).reduce((sum, message) => sum + message.size, 0);
    logged[index] = { ...target, size: 0, expunged: true };
    const { bodies } = this.#sql
      .exec<{ bodies: ArrayBuffer }>("SELECT bodies FROM segments WHERE first_offset = ?", row.first_offset)
      .one();
    this.#sql.exec(
      "UPDATE segments SET messages = ?, bodies = ? WHERE first_offset = ?",
      JSON.stringify(logged), without(new Uint8Array(bodies), start, target.size), row.first_offset,
    );
    this.#sql.exec("INSERT OR IGNORE INTO expunged (offset) VALUES (?)", offset);
    this.#parsed.delete(row.first_offset);
    return true;
  }

  /** The offset of the first message committed at this time or later; the next one when there is none yet. */
  offsetAt(timeMs: number): number {
    return offsetAtTime(this.#sql, { from: this.earliestOffset, to: this.#nextOffset }, timeMs);
  }

  /** How many messages of the stretch still have their bytes. */
  countBetween(fromOffset: number, untilOffset: number): number {
    const { n } = this.#sql
      .exec<{ n: number }>("SELECT count(*) AS n FROM expunged WHERE offset >= ? AND offset < ?", fromOffset, untilOffset)
      .one();
    return Math.max(0, untilOffset - fromOffset - n);
  }

  /**
   * Removes the oldest segments as far as they are not to be kept, a bounded step of it: `more` when there is more to
   * remove now, `blocked` when what is next has to stay for its open deliveries.
   */
  trim(keep: Keep): { readonly removed: boolean; readonly next: "nothing" | "more" | "blocked" } {
    const { beforeOffset, next } = oldestToKeep(this.#sql, this.#bytesEver, keep);
    if (beforeOffset === null) return { removed: false, next };
    this.#parsed.clear();
    this.#sql.exec("DELETE FROM segments WHERE first_offset < ?", beforeOffset);
    this.#sql.exec("DELETE FROM expunged WHERE offset < ?", beforeOffset);
    return { removed: true, next };
  }

  /** The time of the oldest message left; null when the log is empty. */
  oldestTimeMs(): number | null {
    return this.#oldest()?.time ?? null;
  }

  #oldest(): { first_offset: number; time: number; bytes_before: number } | null {
    const [row] = this.#sql
      .exec<{ first_offset: number; time: number; bytes_before: number }>(
        "SELECT first_offset, time, bytes_before FROM segments ORDER BY first_offset LIMIT 1",
      )
      .toArray();
    return row ?? null;
  }

  /** All entries of the segment an offset is in; none when it is not in the log. */
  #entriesAround(offset: number): readonly LogEntry[] {
    for (const [firstOffset, entries] of this.#parsed) {
      if (offset >= firstOffset && offset < firstOffset + entries.length) return entries;
    }
    const row = this.#segmentOf(offset);
    if (row === null || isArchived(row.messages)) return [];
    const entries = entriesOf(row);
    const oldest = this.#parsed.keys().next();
    if (this.#parsed.size >= MAX_PARSED_SEGMENTS && !oldest.done) this.#parsed.delete(oldest.value);
    this.#parsed.set(row.first_offset, entries);
    return entries;
  }

  #segmentOf(offset: number): SegmentRow | null {
    const [row] = this.#sql
      .exec<SegmentRow>(
        `SELECT first_offset, time, messages FROM segments
         WHERE first_offset <= ?1 AND first_offset + count > ?1 ORDER BY first_offset DESC LIMIT 1`,
        offset,
      )
      .toArray();
    return row ?? null;
  }
}

/** An entry with its bytes, as delivery takes it. */
export function storedMessage(entry: LogEntry, body: Uint8Array): StoredMessage {
  const {
    size: _size, matched: _matched, endpointIds: _endpointIds, orderedIds: _orderedIds, orderingKeys: _orderingKeys, expunged: _expunged,
    ...message
  } = entry;
  return { ...message, body };
}

/** Cuts a commit into rows that each stay within the bounds. */
function* segmentsOf(appends: readonly Append[]): Generator<Append[]> {
  let segment: Append[] = [];
  let bytes = 0;
  for (const append of appends) {
    const size = loggedBytes(append);
    if (segment.length > 0 && (bytes + size > MAX_SEGMENT_BYTES || segment.length >= MAX_SEGMENT_MESSAGES)) {
      yield segment;
      segment = [];
      bytes = 0;
    }
    segment.push(append);
    bytes += size;
  }
  if (segment.length > 0) yield segment;
}

/** An upper estimate: every character of metadata may take three bytes. */
function loggedBytes({ message, endpointIds, orderedIds = [], orderingKeys = {} }: Append): number {
  const names = Object.entries({ ...message.attributes, ...message.event });
  const metadata = names.reduce((sum, [name, value]) => sum + name.length + value.length + 6, 300);
  const targets = [endpointIds.length, orderedIds.length].reduce((sum, count) => sum + (count > MAX_LOGGED_TARGETS ? 0 : count * 35), 0);
  const keys = Object.values(orderingKeys).reduce((sum, key) => sum + key.length + 40, 0);
  return message.body.length + 3 * metadata + targets + keys;
}

function toLogged({ message, endpointIds, orderedIds = [], orderingKeys }: Append): LoggedMessage {
  const { body, attributes, deduplicate: _deduplicate, ...rest } = message;
  return {
    ...rest,
    ...(Object.keys(attributes).length > 0 ? { attributes } : {}),
    size: body.length,
    matched: endpointIds.length + orderedIds.length,
    ...(endpointIds.length > MAX_LOGGED_TARGETS ? {} : { endpointIds }),
    ...(orderedIds.length === 0 || orderedIds.length > MAX_LOGGED_TARGETS ? {} : { orderedIds }),
    ...(orderingKeys === undefined || orderedIds.length > MAX_LOGGED_TARGETS ? {} : { orderingKeys }),
  };
}

/** Whether some of its targets are rows only, for they were too many. */
export function isCut({ matched, endpointIds = [], orderedIds = [] }: LoggedMessage): boolean {
  return matched !== endpointIds.length + orderedIds.length;
}

function toEntry(logged: LoggedMessage, offset: number, timeMs: number): LogEntry {
  const { attributes = {}, endpointIds = [], orderedIds = [], expunged = false, ...rest } = logged;
  return { ...rest, offset, timeMs, attributes, endpointIds, orderedIds, expunged };
}

/** The messages of a stored segment, in order; their bytes lie one after the other in its `bodies`. */
export function entriesOf(row: SegmentRow): LogEntry[] {
  return parseLogged(row.messages).map((logged, index) => toEntry(logged, row.first_offset + index, row.time));
}

/** Rows are written by `append` alone, so their JSON has its shape. */
function parseLogged(text: string): LoggedMessage[] {
  return JSON.parse(text) as LoggedMessage[];
}

function concatenated(appends: readonly Append[]): ArrayBuffer {
  const bodies = new Uint8Array(appends.reduce((sum, { message }) => sum + message.body.length, 0));
  let at = 0;
  for (const { message } of appends) {
    bodies.set(message.body, at);
    at += message.body.length;
  }
  return bodies.buffer;
}

function without(bytes: Uint8Array, start: number, length: number): ArrayBuffer {
  const rest = new Uint8Array(bytes.length - length);
  rest.set(bytes.subarray(0, start));
  rest.set(bytes.subarray(start + length), start);
  return rest.buffer;
}
