import { DatabaseSync, type SQLInputValue } from "node:sqlite";

/** The SQLite of an object, as far as a log uses it. */
export function openSql(): SqlStorage {
  const db = new DatabaseSync(":memory:");
  const exec = (sql: string, ...values: SQLInputValue[]) => {
    if (values.length === 0 && sql.trim().includes(";")) {
      db.exec(sql);
      return [];
    }
    const bound = values.map((value) => (value instanceof ArrayBuffer ? new Uint8Array(value) : value));
    const statement = db.prepare(sql);
    const rows = /\?\d/.test(sql)
      ? statement.all(Object.fromEntries(bound.map((value, index) => [`?${index + 1}`, value])))
      : statement.all(...bound);
    return Object.assign(rows, { toArray: () => rows, one: () => rows[0] });
  };
  return { exec } as unknown as SqlStorage;
}
