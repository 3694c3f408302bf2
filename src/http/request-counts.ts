export type RequestCount = { readonly method: string; readonly route: string; readonly status: number; readonly count: number };

/** Bounded by the routes there are, the methods below and the statuses they answer with. */
const counts = new Map<string, RequestCount>();
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Counts a request of this isolate, for `/metrics`. */
export function countRequest(method: string, route: string, status: number): void {
  const known = METHODS.has(method) ? method : "other"; // a made-up method must not make a series
  const key = `${known} ${status} ${route}`;
  const count = (counts.get(key)?.count ?? 0) + 1;
  counts.set(key, { method: known, route, status, count });
}

/** The requests this isolate has answered since it started. */
export function requestCounts(): RequestCount[] {
  return [...counts.values()];
}
