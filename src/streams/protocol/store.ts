import type { ProducerState } from "./append-rules.ts";
import { ChunkLog } from "./chunk-log.ts";
import type { Payload } from "./content.ts";
import type { ProducerRequest, StreamInfo, Stretch } from "./contract.ts";

/** Everything about a stream but its data. */
export type StreamState = {
  readonly incarnation: string;
  /** What came before it in all streams that were at this path: the key of its first row. */
  readonly base: number;
  readonly contentType: string;
  readonly closed: boolean;
  readonly closedBy: ProducerRequest | null;
  readonly lastSeq: string | null;
  readonly ttlSeconds: number | null;
  readonly expiresAt: string | null;
  readonly accessedAtMs: number;
  /** Deleted, but forks still read from it. */
  readonly deleted: boolean;
  readonly fork: ForkOrigin | null;
};

/** What a fork inherits: everything of its source before `position`. */
export type ForkOrigin = {
  readonly forkId: string;
  readonly source: string;
  readonly incarnation: string;
  readonly position: number;
  /** As asked for, to tell whether a second request asks for the same. */
  readonly askedPosition: number | null;
  readonly askedSubOffset: number;
};

/**
 * `forks`: who still reads from this stream. `fork_debts`: references on other streams that are to be given back, or
 * that may have been taken in vain.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS chunks (
  position INTEGER PRIMARY KEY,
  units INTEGER NOT NULL,
  bytes BLOB NOT NULL,
  lengths BLOB
) STRICT;
CREATE TABLE IF NOT EXISTS producers (
  id TEXT PRIMARY KEY,
  epoch INTEGER NOT NULL,
  seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS forks (fork_id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS fork_debts (fork_id TEXT PRIMARY KEY, source TEXT NOT NULL) STRICT, WITHOUT ROWID;
`;

const STATE_KEY = "stream";
const NEXT_BASE_KEY = "nextBase";
/** How often at most an access is written down, as a part of the time to live. */
const ACCESS_WRITES_PER_TTL = 20;
const MIN_ACCESS_INTERVAL_MS = 1_000;

/** What one object keeps. An object that never held a stream keeps nothing. All calls are synchronous. */
export class StreamStore {
  readonly #storage: DurableObjectStorage;
  readonly #chunks: ChunkLog;
  #hasTables: boolean;
  #state: StreamState | null;
  #tail = 0;
  #accessedAtMs = 0;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    this.#chunks = new ChunkLog(storage.sql);
    this.#hasTables = storage.sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'chunks'").toArray().length > 0;
    this.#state = this.#hasTables ? (storage.kv.get<StreamState>(STATE_KEY) ?? null) : null;
    if (this.#state === null) return;
    const { base, fork, ttlSeconds, accessedAtMs } = this.#state;
    this.#tail = Math.max((this.#chunks.end(base) ?? base) - base, fork?.position ?? 0);
    // it may have been read since it was last written down
    this.#accessedAtMs = accessedAtMs + (ttlSeconds === null ? 0 : accessIntervalMs(ttlSeconds));
  }

  get state(): StreamState | null {
    return this.#state;
  }

  get tail(): number {
    return this.#tail;
  }

  info(state: StreamState): StreamInfo {
    const { incarnation, contentType, closed, ttlSeconds, expiresAt } = state;
    return { incarnation, contentType, closed, tail: this.#tail, ttlSeconds, expiresAt };
  }

  /** When the stream ends by itself; null when it does not. */
  expiresAtMs(state: StreamState): number | null {
    if (state.expiresAt !== null) return Date.parse(state.expiresAt);
    return state.ttlSeconds === null ? null : this.#accessedAtMs + state.ttlSeconds * 1000;
  }

  create(fresh: Omit<StreamState, "base">): StreamState {
    this.#createTables();
    const state = { ...fresh, base: this.#storage.kv.get<number>(NEXT_BASE_KEY) ?? 0 };
    this.#storage.kv.put(STATE_KEY, state);
    this.#state = state;
    this.#tail = state.fork?.position ?? 0;
    this.#accessedAtMs = state.accessedAtMs;
    return state;
  }

  save(state: StreamState): void {
    this.#storage.kv.put(STATE_KEY, state);
    this.#state = state;
  }

  /** Adds data at the tail, which is then `tail`. */
  append(state: StreamState, payloads: readonly Payload[], tail: number): void {
    this.#chunks.append(state.base + this.#tail, payloads);
    this.#tail = tail;
  }

  /** What the stream itself holds of `[from, to)`, at most `maxBytes`. */
  read(state: StreamState, from: number, to: number, maxBytes: number): Stretch {
    const { base } = state;
    const stretch = this.#chunks.read(base + from, base + to, maxBytes);
    return { ...stretch, from, next: stretch.next - base };
  }

  /** Reading or writing renews the time to live; written down now and then. */
  touch(nowMs: number): void {
    const state = this.#state;
    if (state === null || state.ttlSeconds === null) return;
    this.#accessedAtMs = nowMs;
    if (nowMs - state.accessedAtMs >= accessIntervalMs(state.ttlSeconds)) this.save({ ...state, accessedAtMs: nowMs });
  }

  /** Ends the stream; its rows go by {@link dropRemains}. */
  end(): void {
    const state = this.#state;
    if (state === null) return;
    if (state.fork !== null) this.oweFork(state.fork.forkId, state.fork.source);
    this.#storage.kv.put(NEXT_BASE_KEY, state.base + this.#tail);
    this.#storage.kv.delete(STATE_KEY);
    this.#storage.sql.exec("DELETE FROM producers");
    this.#state = null;
    this.#tail = 0;
  }

  /** Removes some rows of streams that ended; whether there may be more. */
  dropRemains(limit: number): boolean {
    if (!this.#hasTables) return false;
    return this.#chunks.dropBefore(this.#state?.base ?? Number.MAX_SAFE_INTEGER, limit);
  }

  producer(id: string): ProducerState | null {
    const [row] = this.#storage.sql.exec<{ epoch: number; seq: number }>("SELECT epoch, seq FROM producers WHERE id = ?", id).toArray();
    return row ?? null;
  }

  saveProducer(id: string, { epoch, seq }: ProducerState): void {
    this.#storage.sql.exec("INSERT OR REPLACE INTO producers (id, epoch, seq) VALUES (?, ?, ?)", id, epoch, seq);
  }

  hasForks(): boolean {
    return this.#storage.sql.exec("SELECT 1 FROM forks LIMIT 1").toArray().length > 0;
  }

  addFork(forkId: string): void {
    this.#storage.sql.exec("INSERT OR IGNORE INTO forks (fork_id) VALUES (?)", forkId);
  }

  removeFork(forkId: string): void {
    if (this.#hasTables) this.#storage.sql.exec("DELETE FROM forks WHERE fork_id = ?", forkId);
  }

  /** Notes that a reference on another stream is to be given back. */
  oweFork(forkId: string, source: string): void {
    this.#createTables();
    this.#storage.sql.exec("INSERT OR REPLACE INTO fork_debts (fork_id, source) VALUES (?, ?)", forkId, source);
  }

  settleFork(forkId: string): void {
    this.#storage.sql.exec("DELETE FROM fork_debts WHERE fork_id = ?", forkId);
  }

  owedForks(): { forkId: string; source: string }[] {
    if (!this.#hasTables) return [];
    return this.#storage.sql.exec<{ forkId: string; source: string }>("SELECT fork_id AS forkId, source FROM fork_debts").toArray();
  }

  /** After everything of the object was deleted. */
  forget(): void {
    this.#hasTables = false;
  }

  #createTables(): void {
    if (!this.#hasTables) this.#storage.sql.exec(SCHEMA);
    this.#hasTables = true;
  }
}

function accessIntervalMs(ttlSeconds: number): number {
  return Math.max(MIN_ACCESS_INTERVAL_MS, (ttlSeconds * 1000) / ACCESS_WRITES_PER_TTL);
}
