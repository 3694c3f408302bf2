import { readdirSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";

/** Opens the database of a stopped gateway that has the table and, where given, what `holds` asks for; closes it after `use`. */
export function withDatabase<Result>(
  dataDir: string,
  table: string,
  use: (db: DatabaseSync) => Result,
  holds: (db: DatabaseSync) => boolean = () => true,
): Result {
  for (const path of databasesBelow(join(dataDir, "state"))) {
    const db = new DatabaseSync(path);
    try {
      if (!hasTable(db, table) || !holds(db)) continue;
      // It is made for the bench and thrown away after it.
      db.exec("PRAGMA synchronous = OFF");
      return use(db);
    } finally {
      db.close();
    }
  }
  throw new Error(`no database below ${dataDir} has the table ${table} that was looked for`);
}

export function columnsOf(db: DatabaseSync, table: string): string[] {
  return db.prepare("SELECT name FROM pragma_table_info(?)").all(table).map(({ name }) => String(name));
}

export function hasTable(db: DatabaseSync, table: string): boolean {
  return db.prepare("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?").get(table) !== undefined;
}

/**
 * Copies the rows that `where` selects `copies` times, all columns as they are but for those named in `changes`, SQL
 * over the row (`t`) and the number of the copy from 1 (`n.i`). So a seed knows no column that it does not change.
 */
export function copyRows(
  db: DatabaseSync,
  table: string,
  options: { readonly where: string; readonly copies: number; readonly changes: Readonly<Record<string, string>> },
): void {
  const names = columnsOf(db, table);
  const values = names.map((name) => options.changes[name] ?? `t.${name}`);
  db.exec(
    `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ${options.copies})
     INSERT INTO ${table} (${names.join(", ")}) SELECT ${values.join(", ")} FROM n, (SELECT * FROM ${table} WHERE ${options.where}) t`,
  );
}

export function countRows(db: DatabaseSync, table: string): number {
  return Number(db.prepare(`SELECT count(*) AS count FROM ${table}`).get()?.["count"]);
}

function databasesBelow(directory: string): string[] {
  const entries = readdirSync(directory, { recursive: true, withFileTypes: true });
  return entries.filter((entry) => entry.isFile() && entry.name.endsWith(".sqlite")).map((entry) => join(entry.parentPath, entry.name));
}
