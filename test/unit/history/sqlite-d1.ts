import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync, type SQLInputValue } from "node:sqlite";

const MIGRATIONS = join(import.meta.dirname, "../../../migrations");

/** A D1 database in memory, as far as storage uses one, with the project's own schema. */
export type TestDatabase = { readonly db: D1Database; readonly sqlite: DatabaseSync; readonly statements: string[] };

export function openDatabase(): TestDatabase {
  const sqlite = new DatabaseSync(":memory:");
  for (const file of readdirSync(MIGRATIONS).sort()) sqlite.exec(readFileSync(join(MIGRATIONS, file), "utf8"));
  const statements: string[] = [];
  const run = (sql: string, values: readonly SQLInputValue[]) => {
    statements.push(sql);
    const statement = sqlite.prepare(sql);
    // `?1` may be used twice; node:sqlite takes such values by name
    const results = /\?\d/.test(sql)
      ? statement.all(Object.fromEntries(values.map((value, index) => [`?${index + 1}`, value])))
      : statement.all(...values);
    const changes = sqlite.prepare("SELECT changes() AS changes").get()?.["changes"];
    return { success: true, results, meta: { changes } };
  };
  const prepare = (sql: string, values: readonly SQLInputValue[] = []) => ({
    bind: (...bound: SQLInputValue[]) => prepare(sql, bound),
    all: async () => run(sql, values),
    run: async () => run(sql, values),
    first: async () => run(sql, values).results[0] ?? null,
    execute: () => run(sql, values),
  });
  const batch = async (prepared: readonly ReturnType<typeof prepare>[]) => {
    sqlite.exec("BEGIN");
    try {
      const results = prepared.map((statement) => statement.execute());
      sqlite.exec("COMMIT");
      return results;
    } catch (error) {
      sqlite.exec("ROLLBACK");
      throw error;
    }
  };
  return { db: { prepare, batch } as unknown as D1Database, sqlite, statements };
}

/** How SQLite would run a statement: the `detail` lines of EXPLAIN QUERY PLAN. */
export function planOf(sqlite: DatabaseSync, sql: string): string[] {
  return sqlite.prepare(`EXPLAIN QUERY PLAN ${sql}`).all().map((row) => String(row["detail"]));
}
