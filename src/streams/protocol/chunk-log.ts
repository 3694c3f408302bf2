import { joinMessages, joinParts, ownBuffer, type Payload } from "./content.ts";
import type { Stretch } from "./contract.ts";

type ChunkRow = { position: number; units: number; bytes: ArrayBuffer; lengths: ArrayBuffer | null };
type NewChunk = { units: number; parts: Uint8Array[]; size: number; lengths: number[] };
type Cut = { readonly bytes: Uint8Array; readonly units: number };

/** A row: small enough that a read holds few of them, and below the 2 MB of a row with one JSON message more. */
const MAX_CHUNK_BYTES = 1024 * 1024;
const COMMA_BYTES = 1;

/**
 * The data of a stream in its object's SQLite: a row a commit, or a part of one. Rows are keyed by how much came before
 * in all streams that ever were at this path, so that what is left of a deleted one never shows in the next.
 *
 * `bytes` of a JSON row are its messages with a comma between each two; `lengths` are theirs, as 32-bit integers.
 */
export class ChunkLog {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  /** Where the last row at or after `base` ends; null when there is none. */
  end(base: number): number | null {
    const [row] = this.#sql
      .exec<{ end: number }>("SELECT position + units AS end FROM chunks WHERE position >= ? ORDER BY position DESC LIMIT 1", base)
      .toArray();
    return row?.end ?? null;
  }

  /** Writes the payloads of a commit, the first at `position`. Call within a transaction. */
  append(position: number, payloads: readonly Payload[]): void {
    let at = position;
    for (const chunk of chunksOf(payloads)) {
      const isJson = chunk.lengths.length > 0;
      this.#sql.exec(
        "INSERT INTO chunks (position, units, bytes, lengths) VALUES (?, ?, ?, ?)",
        at, chunk.units, joinParts(chunk.parts, isJson), isJson ? Uint32Array.from(chunk.lengths).buffer : null,
      );
      at += chunk.units;
    }
  }

  /** From `from` on, before `to`: at most `maxBytes`, but one message at least. */
  read(from: number, to: number, maxBytes: number): Stretch {
    if (from >= to) return { from, next: from, bytes: new Uint8Array() };
    const parts: Uint8Array[] = [];
    let next = from;
    let size = 0;
    let json = false;
    const rows = this.#sql.exec<ChunkRow>(
      `SELECT position, units, bytes, lengths FROM chunks
       WHERE position >= coalesce((SELECT max(position) FROM chunks WHERE position <= ?1), 0) AND position < ?2
       ORDER BY position`,
      from, to,
    );
    for (const row of rows) {
      json = row.lengths !== null;
      const cut = cutRow(row, next, to, size === 0 ? maxBytes : maxBytes - size, size === 0);
      if (cut.units === 0) break;
      parts.push(cut.bytes);
      next += cut.units;
      size += cut.bytes.length + (json ? COMMA_BYTES : 0);
      // a row is loaded whole: one like this that would only be begun is left for the next read
      if (size + row.bytes.byteLength > maxBytes || next < row.position + row.units) break;
    }
    return { from, next, bytes: json ? joinMessages(parts) : ownBuffer(joinParts(parts, false)) };
  }

  /** Removes up to `limit` rows before `position`; whether there may be more. */
  dropBefore(position: number, limit: number): boolean {
    const { rowsWritten } = this.#sql.exec(
      "DELETE FROM chunks WHERE position IN (SELECT position FROM chunks WHERE position < ? ORDER BY position LIMIT ?)",
      position, limit,
    );
    return rowsWritten >= limit;
  }
}

function cutRow(row: ChunkRow, from: number, to: number, maxBytes: number, atLeastOne: boolean): Cut {
  const bytes = new Uint8Array(row.bytes);
  const first = from - row.position;
  const last = Math.min(to - row.position, row.units);
  if (row.lengths !== null) return cutMessages(bytes, new Uint32Array(row.lengths), first, last, maxBytes, atLeastOne);
  const cut = bytes.subarray(first, Math.min(last, first + maxBytes));
  return { bytes: cut, units: cut.length };
}

function cutMessages(bytes: Uint8Array, lengths: Uint32Array, first: number, last: number, maxBytes: number, atLeastOne: boolean): Cut {
  let start = 0;
  for (let index = 0; index < first; index++) start += (lengths[index] ?? 0) + COMMA_BYTES;
  let end = start;
  let units = 0;
  for (let index = first; index < last; index++) {
    const after = end + (units > 0 ? COMMA_BYTES : 0) + (lengths[index] ?? 0);
    if (after - start > maxBytes && !(atLeastOne && units === 0)) break;
    end = after;
    units++;
  }
  return { bytes: bytes.subarray(start, end), units };
}

function* chunksOf(payloads: readonly Payload[]): Generator<NewChunk> {
  let chunk = newChunk();
  for (const piece of piecesOf(payloads)) {
    if (chunk.size > 0 && chunk.size + piece.size > MAX_CHUNK_BYTES) {
      yield chunk;
      chunk = newChunk();
    }
    chunk.units += piece.units;
    chunk.size += piece.size;
    chunk.parts.push(...piece.parts);
    chunk.lengths.push(...piece.lengths);
  }
  if (chunk.units > 0) yield chunk;
}

function newChunk(): NewChunk {
  return { units: 0, parts: [], size: 0, lengths: [] };
}

/** Parts that each fit a row: bytes are cut anywhere, messages between two of them. */
function* piecesOf(payloads: readonly Payload[]): Generator<NewChunk> {
  for (const { bytes, lengths } of payloads) {
    if (lengths !== null) {
      yield* runsOf(bytes, lengths);
      continue;
    }
    for (let start = 0; start < bytes.length; start += MAX_CHUNK_BYTES) {
      const part = bytes.subarray(start, start + MAX_CHUNK_BYTES);
      yield { units: part.length, parts: [part], size: part.length, lengths: [] };
    }
  }
}

/** Runs of messages as they lie in the payload, commas included. */
function* runsOf(bytes: Uint8Array, lengths: Uint32Array): Generator<NewChunk> {
  let start = 0;
  let end = 0;
  let run: number[] = [];
  for (const length of lengths) {
    if (run.length > 0 && end + COMMA_BYTES + length - start > MAX_CHUNK_BYTES) {
      yield { units: run.length, parts: [bytes.subarray(start, end)], size: end - start, lengths: run };
      start = end + COMMA_BYTES;
      end = start;
      run = [];
    }
    end += (run.length > 0 ? COMMA_BYTES : 0) + length;
    run.push(length);
  }
  if (run.length > 0) yield { units: run.length, parts: [bytes.subarray(start, end)], size: end - start, lengths: run };
}
