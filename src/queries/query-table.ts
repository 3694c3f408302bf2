import type { QueryAnswer } from "../delivery/attempt.ts";

/** A query that was asked: an answer is welcome before the deadline, once. */
export type Query = { readonly deadlineMs: number; readonly answer: QueryAnswer | null };

type Row = { deadline: number; content_type: string | null; body: ArrayBuffer | null };

/** WITHOUT ROWID: one row written a change; `body` last, so that finding what is over reads none. */
const SCHEMA = `
CREATE TABLE IF NOT EXISTS queries (
  message_id TEXT PRIMARY KEY,
  deadline INTEGER NOT NULL,
  content_type TEXT, -- null: not answered
  body BLOB
) STRICT, WITHOUT ROWID;
`;

/** The queries of one rendezvous, in its object's SQLite. */
export class QueryTable {
  readonly #storage: DurableObjectStorage;
  /** Not on disk yet, and so read before it. */
  #changed = new Map<string, Query>();
  #committing: Promise<void> | null = null;

  constructor(storage: DurableObjectStorage) {
    this.#storage = storage;
    storage.sql.exec(SCHEMA);
  }

  find(messageId: string): Query | null {
    const changed = this.#changed.get(messageId);
    if (changed !== undefined) return changed;
    const [row] = this.#storage.sql
      .exec<Row>("SELECT deadline, content_type, body FROM queries WHERE message_id = ?", messageId)
      .toArray();
    return row === undefined ? null : toQuery(row);
  }

  /** Resolves when it is on disk: a commit is shared by all that changes until it begins. */
  save(messageId: string, query: Query): Promise<void> {
    this.#changed.set(messageId, query);
    this.#committing ??= this.#commit();
    return this.#committing;
  }

  /** Forgets the queries whose deadline was before this; whether there are others. */
  sweep(beforeMs: number): boolean {
    this.#storage.sql.exec("DELETE FROM queries WHERE deadline < ?", beforeMs);
    return this.#changed.size > 0 || this.#storage.sql.exec("SELECT 1 FROM queries LIMIT 1").toArray().length > 0;
  }

  async #commit(): Promise<void> {
    await scheduler.wait(0);
    this.#committing = null;
    const changed = this.#changed;
    this.#changed = new Map();
    this.#storage.transactionSync(() => {
      for (const [messageId, { deadlineMs, answer }] of changed) {
        this.#storage.sql.exec(
          "INSERT OR REPLACE INTO queries (message_id, deadline, content_type, body) VALUES (?, ?, ?, ?)",
          messageId, deadlineMs, answer?.contentType ?? null, answer?.body ?? null,
        );
      }
    });
    await this.#storage.sync();
  }
}

function toQuery({ deadline, content_type, body }: Row): Query {
  if (content_type === null) return { deadlineMs: deadline, answer: null };
  return { deadlineMs: deadline, answer: { contentType: content_type, body: new Uint8Array(body ?? new ArrayBuffer()) } };
}
