/** Conditions joined by AND, with the values they bind, in order. */
export class Conditions {
  sql: string;
  readonly values: (string | number)[];

  constructor(sql: string, ...values: readonly (string | number)[]) {
    this.sql = sql;
    this.values = [...values];
  }

  add(sql: string, ...values: readonly (string | number)[]): void {
    this.sql += ` AND ${sql}`;
    this.values.push(...values);
  }
}
