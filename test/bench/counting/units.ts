/** What Cloudflare and AWS bill, as counted at the bindings of a gateway since it started. */
export type Units = {
  /** Requests, batches of the queue's consumers, runs of the cron. Calls between its own entrypoints are not billed. */
  workerRequests: number;
  /** Calls and alarms of Durable Objects. */
  objectRequests: number;
  /** As SQLite reports them for each cursor, with a row for each key-value operation and each alarm that is set. */
  objectRowsRead: number;
  objectRowsWritten: number;
  /** `rows_read` and `rows_written` of D1's answers: rows of indexes count. */
  d1RowsRead: number;
  d1RowsWritten: number;
  /** Messages written to the queue, read from it, and deleted from it. */
  queueOperations: number;
  sqsCalls: number;
};

/** `objects`: ids of the Durable Objects that had something to do since the last answer. */
export type UnitsAnswer = { readonly units: Units; readonly objects: number };

export const UNITS_PATH = "/bench/units";
/** Runs the cron, as of the time in `?at=` (ms). */
export const CRON_PATH = "/bench/cron";

export function noUnits(): Units {
  return {
    workerRequests: 0, objectRequests: 0, objectRowsRead: 0, objectRowsWritten: 0,
    d1RowsRead: 0, d1RowsWritten: 0, queueOperations: 0, sqsCalls: 0,
  };
}

/** Of each unit what `combine` makes of both. */
export function combineUnits(a: Units, b: Units, combine: (a: number, b: number) => number): Units {
  const result = noUnits();
  for (const name of Object.keys(result) as (keyof Units)[]) result[name] = combine(a[name], b[name]);
  return result;
}
