import { DurableObject } from "cloudflare:workers";
import type { DirectoryApi } from "./contract.ts";
import { literalPrefix, matchesPath, parseStreamPattern, type StreamPattern } from "./pattern.ts";

/** `number` counts streams in the order they came; `after_number` is the last one there was before the subscription. */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS streams (number INTEGER PRIMARY KEY AUTOINCREMENT, path TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS subscriptions (
  id TEXT PRIMARY KEY,
  pattern TEXT,
  after_number INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
`;

/** Each stream that is created is held against every pattern. */
const MAX_SUBSCRIPTIONS = 1_000;
/** Paths one call looks at, and paths or ids it gives back: a moment's work, and a bounded answer. */
const MAX_SCANNED = 5_000;
const MAX_MATCHES = 200;
/** Sorts after every character that a path can hold. */
const LAST = "\u{10ffff}";

/**
 * What own streams and subscriptions a tenant has, so that each finds those of the other that it is about. Whichever of
 * the two is noted here later is told of the one that was earlier.
 */
export class StreamDirectory extends DurableObject<Cloudflare.Env> implements DirectoryApi {
  readonly #sql: SqlStorage;
  /** Parsed once; null until they are needed. */
  #patterns: Map<string, StreamPattern> | null = null;

  constructor(ctx: DurableObjectState, env: Cloudflare.Env) {
    super(ctx, env);
    this.#sql = ctx.storage.sql;
    this.#sql.exec(SCHEMA);
  }

  async addStream(path: string): Promise<readonly string[]> {
    this.#sql.exec("INSERT OR IGNORE INTO streams (path) VALUES (?)", path);
    return [...this.#knownPatterns()].filter(([, pattern]) => matchesPath(pattern, path)).map(([id]) => id);
  }

  async removeStream(path: string): Promise<void> {
    this.#sql.exec("DELETE FROM streams WHERE path = ?", path);
  }

  async addSubscription(id: string, pattern: string | null): Promise<boolean> {
    const { n } = this.#sql.exec<{ n: number }>("SELECT count(*) AS n FROM subscriptions WHERE id <> ?", id).one();
    if (n >= MAX_SUBSCRIPTIONS) return false;
    this.#sql.exec(
      `INSERT INTO subscriptions (id, pattern, after_number)
       VALUES (?, ?, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'streams'), 0)) ON CONFLICT DO NOTHING`,
      id, pattern,
    );
    this.#patterns = null;
    return true;
  }

  async removeSubscription(id: string): Promise<void> {
    this.#sql.exec("DELETE FROM subscriptions WHERE id = ?", id);
    this.#patterns = null;
  }

  async subscriptions(): Promise<string[]> {
    return this.#sql.exec<{ id: string }>("SELECT id FROM subscriptions LIMIT ?", MAX_MATCHES).toArray().map(({ id }) => id);
  }

  async destroy(): Promise<void> {
    await this.ctx.storage.deleteAll();
    await this.ctx.storage.sync();
    // What is in memory is of what was: the next call finds an object that is new.
    setTimeout(() => this.ctx.abort("destroyed"), 0);
  }

  async matching(id: string, after: string): Promise<{ paths: string[]; next: string | null }> {
    const [known] = this.#sql
      .exec<{ pattern: string | null; after_number: number }>("SELECT pattern, after_number FROM subscriptions WHERE id = ?", id)
      .toArray();
    if (known === undefined || known.pattern === null) return { paths: [], next: null };
    const pattern = parsePattern(known.pattern);
    const prefix = literalPrefix(pattern);
    const rows = this.#sql
      .exec<{ path: string; number: number }>(
        "SELECT path, number FROM streams WHERE path > ? AND path >= ? AND path < ? ORDER BY path LIMIT ?",
        after, prefix, prefix + LAST, MAX_SCANNED,
      )
      .toArray();
    const paths: string[] = [];
    for (const { path, number } of rows) {
      // those that came later were told of the subscription themselves
      if (number <= known.after_number && matchesPath(pattern, path)) paths.push(path);
      if (paths.length === MAX_MATCHES) return { paths, next: path };
    }
    return { paths, next: rows.length < MAX_SCANNED ? null : (rows.at(-1)?.path ?? null) };
  }

  #knownPatterns(): Map<string, StreamPattern> {
    const rows = this.#patterns === null
      ? this.#sql.exec<{ id: string; pattern: string }>("SELECT id, pattern FROM subscriptions WHERE pattern IS NOT NULL").toArray()
      : [];
    this.#patterns ??= new Map(rows.map(({ id, pattern }) => [id, parsePattern(pattern)]));
    return this.#patterns;
  }
}

/** Only what was parsed before is ever written here. */
function parsePattern(text: string): StreamPattern {
  const parsed = parseStreamPattern(text);
  if (!parsed.ok) throw new Error(parsed.detail);
  return parsed.pattern;
}
