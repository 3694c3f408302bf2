import { describeError, log } from "../log.ts";
import { archiveKey, type ArchivedRow, formatPointer, isArchived, packSegments, parsePointer, readArchived, type RunRow } from "./archive-format.ts";
import type { Content } from "./contract.ts";
import type { OffsetRange } from "./log-range.ts";
import type { StoredSegment } from "./log-reading.ts";
import { entriesOf } from "./segment-log.ts";

/** What the archive takes from its stream. */
export type ArchiveWorld = {
  readonly storage: DurableObjectStorage;
  /** Null where none is bound: then everything stays in the object. */
  readonly bucket: R2Bucket | null;
  readonly stream: () => string;
  /** How old segments are that move. */
  readonly afterMs: () => number;
  /** Every message before it is delivered or dead, known to history, and of no replay. */
  readonly workedOffBefore: () => number;
};

type Stored = { id: string; first_offset: number; end_offset: number };

/** One object of the bucket: large enough that what it costs does not count, small enough to hold. */
const MAX_RUN_BYTES = 4 * 1024 * 1024;
const MAX_RUN_SEGMENTS = 1_000;
/** Segments wait for each other this share of their age, an hour at most, so that not each is an object of its own. */
const GATHERED_SHARE = 0.1;
const MAX_GATHERED_MS = 60 * 60 * 1000;
const STEP_PAUSE_MS = 50;
const BLOCKED_PAUSE_MS = 60_000;
const FAILED_PAUSE_MS = 60_000;
/** What was brought back is wanted here for a while. */
const RESTORED_PAUSE_MS = 60_000;
const MAX_REMOVED = 100;
const MOVED_BEFORE_KEY = "archivedBefore";

/**
 * Moves old segments of a log to a bucket, and brings them back when something is to be done with them. Their rows stay,
 * with a pointer in place of messages and bodies: counting, searching by time and trimming go on as if nothing had moved.
 * Whatever is under way in the bucket is noted in `archives` first, so a kill leaves nothing there that is not found.
 */
export class SegmentArchive {
  readonly #world: ArchiveWorld;
  readonly #sql: SqlStorage;
  #movedBefore: number;
  #isEmpty: boolean;
  #pausedUntilMs = 0;
  #moving: Promise<void> | null = null;
  /** Counts what was expunged: a copy made before does not count any more. */
  #changes = 0;

  constructor(world: ArchiveWorld) {
    this.#world = world;
    this.#sql = world.storage.sql;
    this.#movedBefore = world.storage.kv.get<number>(MOVED_BEFORE_KEY) ?? 0;
    this.#sql.exec("UPDATE archives SET state = 'garbage' WHERE state = 'uploading'");
    this.#isEmpty = this.#sql.exec("SELECT 1 FROM archives LIMIT 1").toArray().length === 0;
  }

  /** Whether all of the stretch is in the object. */
  isLocal({ from, to }: OffsetRange): boolean {
    return this.#isEmpty || this.#firstArchived(from, to) === null;
  }

  /** Brings back the first part of the stretch that is not in the object; call until {@link isLocal}. */
  async restore({ from, to }: OffsetRange): Promise<void> {
    const pointer = this.#firstArchived(from, to);
    if (pointer === null) return;
    const { archive } = pointer;
    const body = await this.#get(archive);
    if (body === null) return; // somebody else has brought it back
    this.#world.storage.transactionSync(() => {
      for (const row of this.#rowsOf(archive)) {
        const { messages, bodies } = readArchived(body, parsePointer(row.messages));
        this.#sql.exec("UPDATE segments SET messages = ?, bodies = ? WHERE first_offset = ?", messages, bodies, row.first_offset);
      }
      this.#sql.exec("UPDATE archives SET state = 'garbage' WHERE id = ?", archive.id);
      this.#noteMovedBefore(Math.min(this.#movedBefore, archive.first_offset));
    });
    this.#pausedUntilMs = Date.now() + RESTORED_PAUSE_MS;
  }

  /** Sees to it that these messages are in the object: they are when the caller goes on, and as long as it does not pause. */
  async bringBack(offsets: readonly number[]): Promise<void> {
    if (this.#world.bucket === null && this.#isEmpty) return;
    for (;;) {
      // what is being moved now would be gone the next moment
      await this.#moving;
      for (const offset of offsets) {
        const one = { from: offset, to: offset + 1 };
        while (!this.isLocal(one)) await this.restore(one);
      }
      const isThere = this.#moving === null && offsets.every((offset) => this.isLocal({ from: offset, to: offset + 1 }));
      if (isThere) return;
    }
  }

  /** The rows of a read as segments, wherever their bytes are; null when some were moved meanwhile: read them again. */
  async load(rows: readonly ArchivedRow[]): Promise<StoredSegment[] | null> {
    const segments: StoredSegment[] = [];
    for (const run of runsOf(rows)) {
      const [first] = run;
      const last = run.at(-1);
      if (first === undefined || last === undefined) continue;
      if (!isArchived(first.messages)) {
        segments.push(...run.map(({ first_offset: firstOffset, time: timeMs, messages, bodies }) => ({ firstOffset, timeMs, messages, bodies: new Uint8Array(bodies) })));
        continue;
      }
      const [start, end] = [parsePointer(first.messages), parsePointer(last.messages)];
      const length = end.position + end.messagesBytes + end.bodiesBytes - start.position;
      const bytes = await this.#get({ id: start.id, first_offset: start.archiveOffset, end_offset: 0 }, { offset: start.position, length });
      if (bytes === null) return null;
      for (const row of run) {
        const pointer = parsePointer(row.messages);
        const { messages, bodies } = readArchived(bytes, { ...pointer, position: pointer.position - start.position });
        segments.push({ firstOffset: row.first_offset, timeMs: row.time, messages, bodies: new Uint8Array(bodies) });
      }
    }
    return segments;
  }

  /** One message's bytes, when they are not in the object; null when they are. */
  async content(offset: number): Promise<Content | null> {
    for (;;) {
      if (this.isLocal({ from: offset, to: offset + 1 })) return null;
      const rows = this.#sql
        .exec<ArchivedRow>("SELECT first_offset, time, messages, bodies FROM segments WHERE first_offset <= ? ORDER BY first_offset DESC LIMIT 1", offset)
        .toArray();
      const [segment] = (await this.load(rows)) ?? [];
      if (segment !== undefined) return contentOf(segment, offset);
    }
  }

  /** The bytes of a message are gone for good: no copy of them is left when this is over. */
  async expunged(): Promise<void> {
    if (this.#isEmpty && this.#moving === null) return;
    this.#changes++;
    await this.#moving;
    await this.#collectGarbage();
  }

  /** Removes all that is in the bucket, for good: the object is to be emptied next. Throws when something stays. */
  async destroy(): Promise<void> {
    this.#pausedUntilMs = Number.POSITIVE_INFINITY;
    await this.#moving;
    for (let stored = this.#listed(); stored.length > 0; stored = this.#listed()) await this.#removeFromBucket(stored);
  }

  /** The log begins later now: what is before is to be removed from the bucket as well. */
  trimmed(earliestOffset: number): void {
    if (!this.#isEmpty) this.#sql.exec("UPDATE archives SET state = 'garbage' WHERE end_offset <= ? AND state = 'stored'", earliestOffset);
  }

  /** Moves a run of segments that are old enough, and removes what is not needed any more. */
  async step(nowMs: number): Promise<void> {
    if (this.#world.bucket === null || this.#moving !== null || nowMs < this.#pausedUntilMs) return;
    this.#moving = this.#moveNext(nowMs).catch((error: unknown) => {
      log("warn", "archive.failed", { stream: this.#world.stream(), error: describeError(error) });
      this.#pausedUntilMs = nowMs + FAILED_PAUSE_MS;
    });
    await this.#moving;
    this.#moving = null;
  }

  /** When there is something to move at the earliest; null when nothing ever is, or a step is under way. */
  nextStepMs(): number | null {
    if (this.#world.bucket === null || this.#moving !== null) return null;
    if (!this.#isEmpty && this.#garbage(1).length > 0) return this.#pausedUntilMs;
    const [oldest] = this.#sql
      .exec<{ time: number }>(
        `SELECT time FROM segments WHERE first_offset >= ? AND first_offset < (SELECT max(first_offset) FROM segments)
         ORDER BY first_offset LIMIT 1`,
        this.#movedBefore,
      )
      .toArray();
    if (oldest === undefined) return null;
    const afterMs = this.#world.afterMs();
    return Math.max(this.#pausedUntilMs, oldest.time + afterMs + Math.min(MAX_GATHERED_MS, afterMs * GATHERED_SHARE));
  }

  async #moveNext(nowMs: number): Promise<void> {
    await this.#collectGarbage();
    const run = this.#nextRun(nowMs - this.#world.afterMs());
    if (run === null) {
      this.#pausedUntilMs = nowMs + BLOCKED_PAUSE_MS;
      return;
    }
    await this.#move(run);
    this.#pausedUntilMs = nowMs + STEP_PAUSE_MS;
  }

  /** The next segments that are in the object, old enough and worked off; never the newest of all, which the log begins with. */
  #nextRun(committedBeforeMs: number): OffsetRange | null {
    const rows = this.#sql.exec<{ first_offset: number; count: number; time: number; size: number; archived: 0 | 1; newest: 0 | 1 }>(
      `SELECT first_offset, count, time, length(messages) + length(bodies) AS size, messages GLOB '@*' AS archived,
         first_offset = (SELECT max(first_offset) FROM segments) AS newest
       FROM segments WHERE first_offset >= ? ORDER BY first_offset LIMIT ?`,
      this.#movedBefore, MAX_RUN_SEGMENTS,
    );
    const workedOffBefore = this.#world.workedOffBefore();
    let movedBefore = this.#movedBefore;
    const run: number[] = [];
    let bytes = 0;
    for (const { first_offset: from, count, time, size, archived, newest } of rows) {
      const to = from + count;
      if (archived === 1 && run.length === 0) {
        movedBefore = to;
        continue;
      }
      const stays = archived === 1 || newest === 1 || time > committedBeforeMs || to > workedOffBefore;
      if (stays || (run.length > 0 && bytes + size > MAX_RUN_BYTES)) break;
      run.push(from, to);
      bytes += size;
    }
    this.#noteMovedBefore(movedBefore);
    const [from, to] = [run[0], run.at(-1)];
    return from === undefined || to === undefined ? null : { from, to };
  }

  async #move({ from, to }: OffsetRange): Promise<void> {
    const rows = this.#sql
      .exec<RunRow>("SELECT first_offset, messages, bodies FROM segments WHERE first_offset >= ? AND first_offset < ? ORDER BY first_offset", from, to)
      .toArray();
    const { bytes, positions } = packSegments(rows);
    const stored: Stored = { id: crypto.randomUUID(), first_offset: from, end_offset: to };
    const changes = this.#changes;
    this.#isEmpty = false;
    this.#sql.exec("INSERT INTO archives (id, first_offset, end_offset, state) VALUES (?, ?, ?, 'uploading')", stored.id, from, to);
    await this.#world.bucket?.put(archiveKey(this.#world.stream(), stored), bytes);
    this.#world.storage.transactionSync(() => {
      // meanwhile some of it may have been expunged, or opened to be delivered again
      const isGood = changes === this.#changes && to <= this.#world.workedOffBefore();
      this.#sql.exec("UPDATE archives SET state = ? WHERE id = ?", isGood ? "stored" : "garbage", stored.id);
      if (!isGood) return;
      for (const position of positions) {
        const pointer = formatPointer({ ...position, id: stored.id, archiveOffset: from });
        this.#sql.exec("UPDATE segments SET messages = ?, bodies = x'' WHERE first_offset = ?", pointer, position.firstOffset);
      }
      this.#noteMovedBefore(to);
    });
  }

  async #collectGarbage(): Promise<void> {
    if (this.#world.bucket === null) return;
    for (let garbage = this.#garbage(MAX_REMOVED); garbage.length > 0; garbage = this.#garbage(MAX_REMOVED)) await this.#removeFromBucket(garbage);
  }

  async #removeFromBucket(stored: readonly Stored[]): Promise<void> {
    await this.#requireBucket().delete(stored.map((one) => archiveKey(this.#world.stream(), one)));
    for (const { id } of stored) this.#sql.exec("DELETE FROM archives WHERE id = ?", id);
  }

  #listed(): Stored[] {
    return this.#sql.exec<Stored>("SELECT id, first_offset, end_offset FROM archives LIMIT ?", MAX_REMOVED).toArray();
  }

  #garbage(limit: number): Stored[] {
    return this.#sql.exec<Stored>("SELECT id, first_offset, end_offset FROM archives WHERE state = 'garbage' LIMIT ?", limit).toArray();
  }

  /** Null when there is no such object any more. Throws when the bucket that holds it is not bound. */
  async #get(stored: Stored, range?: { offset: number; length: number }): Promise<Uint8Array | null> {
    const object = await this.#requireBucket().get(archiveKey(this.#world.stream(), stored), range === undefined ? {} : { range });
    if (object !== null) return new Uint8Array(await object.arrayBuffer());
    const isStored = this.#sql.exec("SELECT 1 FROM archives WHERE id = ? AND state = 'stored'", stored.id).toArray().length > 0;
    if (isStored) throw new Error("an object of the archive is missing in its bucket");
    return null;
  }

  #requireBucket(): R2Bucket {
    const { bucket } = this.#world;
    if (bucket === null) throw new Error("segments of this stream are in a bucket that is not bound any more");
    return bucket;
  }

  #firstArchived(from: number, to: number): { readonly archive: Stored } | null {
    const [row] = this.#sql
      .exec<{ messages: string }>(
        `SELECT messages FROM segments
         WHERE first_offset >= coalesce((SELECT max(first_offset) FROM segments WHERE first_offset <= ?1), 0) AND first_offset < ?2
           AND messages GLOB '@*' ORDER BY first_offset LIMIT 1`,
        from, to,
      )
      .toArray();
    if (row === undefined) return null;
    const { id } = parsePointer(row.messages);
    return { archive: this.#sql.exec<Stored>("SELECT id, first_offset, end_offset FROM archives WHERE id = ?", id).one() };
  }

  #rowsOf({ id, first_offset, end_offset }: Stored): { first_offset: number; messages: string }[] {
    return this.#sql
      .exec<{ first_offset: number; messages: string }>(
        "SELECT first_offset, messages FROM segments WHERE first_offset >= ? AND first_offset < ? AND messages GLOB ?",
        first_offset, end_offset, `@${id} *`,
      )
      .toArray();
  }

  #noteMovedBefore(offset: number): void {
    if (offset === this.#movedBefore) return;
    this.#movedBefore = offset;
    this.#world.storage.kv.put(MOVED_BEFORE_KEY, offset);
  }
}

function contentOf({ firstOffset, timeMs, messages, bodies }: StoredSegment, offset: number): Content {
  let start = 0;
  for (const entry of entriesOf({ first_offset: firstOffset, time: timeMs, messages })) {
    if (entry.offset === offset) {
      if (entry.expunged) return { ok: false, code: "expunged" };
      return { ok: true, contentType: entry.contentType, body: bodies.slice(start, start + entry.size) };
    }
    start += entry.size;
  }
  return { ok: false, code: "not-found" };
}

/** Rows that can be loaded at once: those in the object, and such as lie one after the other in one object of the bucket. */
function* runsOf(rows: readonly ArchivedRow[]): Generator<ArchivedRow[]> {
  let run: ArchivedRow[] = [];
  let id: string | null = null;
  for (const row of rows) {
    const next = isArchived(row.messages) ? parsePointer(row.messages).id : null;
    if (run.length > 0 && next !== id) {
      yield run;
      run = [];
    }
    id = next;
    run.push(row);
  }
  yield run;
}
