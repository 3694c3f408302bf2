import type { Ack, Presence, StreamLink } from "./contract.ts";

type Row = { path: string; explicit: 0 | 1; incarnation: string | null; acked: number | null; tail: number };

/**
 * `acked` is null until the stream has said where its end was when it was linked; `told_at` orders those asked first
 * when somebody wants work and none is known of.
 */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS links (
  path TEXT PRIMARY KEY,
  explicit INTEGER NOT NULL,
  incarnation TEXT,
  acked INTEGER,
  tail INTEGER NOT NULL DEFAULT 0,
  told_at INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS links_pending ON links (path) WHERE acked < tail;
CREATE INDEX IF NOT EXISTS links_unsettled ON links (path) WHERE acked IS NULL;
`;

/** The streams of one subscription and how far each was worked off. All calls are synchronous. */
export class Links {
  readonly #sql: SqlStorage;

  constructor(sql: SqlStorage) {
    this.#sql = sql;
  }

  createTables(): void {
    this.#sql.exec(SCHEMA);
  }

  /** Links streams whose ends are not known yet; one that is linked keeps its place, but may become explicit. */
  add(paths: readonly string[], isExplicit: boolean): void {
    for (const path of paths) {
      this.#sql.exec(
        "INSERT INTO links (path, explicit) VALUES (?, ?) ON CONFLICT DO UPDATE SET explicit = max(explicit, excluded.explicit)",
        path, isExplicit ? 1 : 0,
      );
    }
  }

  /** Some streams whose ends are to be asked for. */
  unsettled(limit: number): string[] {
    return this.#sql.exec<{ path: string }>("SELECT path FROM links WHERE acked IS NULL LIMIT ?", limit).toArray().map(({ path }) => path);
  }

  get hasUnsettled(): boolean {
    return this.unsettled(1).length > 0;
  }

  /** What came before the stream was linked is no work; what came since, and was told before this, is. */
  settle(path: string, { incarnation, tail }: Presence): void {
    const link = this.find(path);
    if (link === null) return;
    // It may have been told of another stream at the path meanwhile: of that one nothing was worked off.
    const isOther = link.incarnation !== null && link.incarnation !== incarnation;
    this.#sql.exec(
      "UPDATE links SET acked = ?, incarnation = ?, tail = ? WHERE path = ? AND acked IS NULL",
      isOther ? 0 : tail, isOther ? link.incarnation : incarnation, isOther ? link.tail : Math.max(link.tail, tail), path,
    );
  }

  /** Links a stream that is new: all of it is work. */
  addNew(path: string, { incarnation, tail }: Presence, nowMs: number): void {
    this.#sql.exec(
      "INSERT INTO links (path, explicit, incarnation, acked, tail, told_at) VALUES (?, 0, ?, 0, ?, ?)",
      path, incarnation, tail, nowMs,
    );
  }

  /** Notes where a linked stream is now; a new stream at its path begins at its beginning. */
  told(path: string, { incarnation, tail }: Presence, nowMs: number): void {
    this.#sql.exec(
      `UPDATE links SET tail = CASE WHEN incarnation IS ?2 THEN max(tail, ?3) ELSE ?3 END,
         acked = CASE WHEN incarnation IS ?2 OR acked IS NULL THEN acked ELSE 0 END, incarnation = ?2, told_at = ?4
       WHERE path = ?1`,
      path, incarnation, tail, nowMs,
    );
  }

  /** Notes that the stream reaches further, if it is still the one that is linked. */
  reached(path: string, { incarnation, tail }: Presence): void {
    this.#sql.exec("UPDATE links SET tail = max(tail, ?) WHERE path = ? AND incarnation IS ?", tail, path, incarnation);
  }

  /** Moves a cursor forward, if the stream is still the one it is about; never back. */
  ack({ path, position }: Ack, incarnation: string | null): void {
    this.#sql.exec(
      "UPDATE links SET acked = max(acked, min(?, tail)) WHERE path = ? AND incarnation IS ? AND acked IS NOT NULL",
      position, path, incarnation,
    );
  }

  unlink(path: string): void {
    this.#sql.exec("DELETE FROM links WHERE path = ?", path);
  }

  /** It stays linked by the pattern alone. */
  makeImplicit(path: string): void {
    this.#sql.exec("UPDATE links SET explicit = 0 WHERE path = ?", path);
  }

  find(path: string): StreamLink | null {
    const [row] = this.#sql.exec<Row>("SELECT path, explicit, incarnation, acked, tail FROM links WHERE path = ?", path).toArray();
    return row === undefined ? null : fromRow(row);
  }

  get hasPending(): boolean {
    return this.#sql.exec("SELECT 1 FROM links WHERE acked < tail LIMIT 1").toArray().length > 0;
  }

  /** At most `limit`, those with pending work before the others. */
  first(limit: number): StreamLink[] {
    const pending = this.#sql
      .exec<Row>("SELECT path, explicit, incarnation, acked, tail FROM links WHERE acked < tail ORDER BY path LIMIT ?", limit)
      .toArray();
    const others = this.#sql
      .exec<Row>(
        "SELECT path, explicit, incarnation, acked, tail FROM links WHERE acked IS NULL OR acked >= tail ORDER BY path LIMIT ?",
        limit - pending.length,
      )
      .toArray();
    return [...pending, ...others].map(fromRow);
  }

  /** Those that were told of last. */
  recent(limit: number): string[] {
    const rows = this.#sql.exec<{ path: string }>("SELECT path FROM links ORDER BY told_at DESC, path LIMIT ?", limit);
    return rows.toArray().map(({ path }) => path);
  }

  count(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM links").one().n;
  }

  countExplicit(): number {
    return this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM links WHERE explicit = 1").one().n;
  }
}

/** Of one that is not settled yet nothing is known to be pending. */
function fromRow({ path, explicit, incarnation, acked, tail }: Row): StreamLink {
  return { path, isExplicit: explicit === 1, incarnation, acked: acked ?? tail, tail };
}
