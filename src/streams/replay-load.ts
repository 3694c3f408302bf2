import type { OpenRow } from "./open-row.ts";

/** How much of an endpoint waits, up to a bound and without what is being attempted for the first time. */
export function loadOf(sql: SqlStorage, endpointId: string, bound: number): { unattempted: number; open: number; isHeld: boolean } {
  const { open, unattempted } = sql
    .exec<{ open: number; unattempted: number }>(
      `SELECT count(*) AS open, count(*) FILTER (WHERE attempts = 0) AS unattempted FROM (
         SELECT attempts FROM open_deliveries WHERE endpoint_id = ? AND status IN ('waiting', 'queued') LIMIT ?)`,
      endpointId, bound,
    )
    .one();
  const held = sql.exec("SELECT 1 FROM open_deliveries WHERE endpoint_id = ? AND status = 'held' LIMIT 1", endpointId);
  return { open, unattempted, isHeld: held.toArray().length > 0 };
}

/** What has a row of an endpoint's deliveries in a stretch of the log, by offset: dead, or open still. */
export function rowsOf(sql: SqlStorage, endpointId: string, fromOffset: number, toOffset: number): ReadonlyMap<number, "open" | "dead"> {
  const rows = sql.exec<{ offset: number; status: OpenRow["status"] }>(
    "SELECT offset, status FROM open_deliveries WHERE offset >= ? AND offset < ? AND endpoint_id = ?",
    fromOffset, toOffset, endpointId,
  );
  return new Map(rows.toArray().map(({ offset, status }) => [offset, status === "dead" ? "dead" : "open"]));
}
