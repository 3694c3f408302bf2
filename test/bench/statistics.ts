/** A figure as several runs gave it. */
export type Spread = { readonly median: number; readonly min: number; readonly max: number; readonly runs: readonly number[] };

/** Throws when there were no runs: a figure is measured, or absent. */
export function spreadOf(runs: readonly number[]): Spread {
  if (runs.length === 0) throw new Error("no runs");
  const sorted = runs.toSorted((a, b) => a - b);
  return { median: median(sorted), min: sorted[0] ?? Number.NaN, max: sorted.at(-1) ?? Number.NaN, runs };
}

/** The value that a share `q` (0..1) of the sorted values do not exceed (nearest rank). */
export function quantile(sorted: ArrayLike<number>, q: number): number {
  const rank = Math.max(1, Math.ceil(q * sorted.length));
  return sorted[rank - 1] ?? Number.NaN;
}

function median(sorted: readonly number[]): number {
  const middle = Math.floor(sorted.length / 2);
  const upper = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? Number.NaN) + upper) / 2;
}
