/**
 * Where a tail of many topics is. `positions`: the next offset of each topic of which something was shown, by the
 * topic's number. Of every other topic it is what was committed at `sinceMs` or later, so that a cursor stays small
 * and covers topics that appear after it was made.
 */
export type TailCursor = { readonly sinceMs: number; readonly positions: ReadonlyMap<number, number> };

/** As a list of numbers, which a signed cursor carries. */
export function cursorValues({ sinceMs, positions }: TailCursor): number[] {
  return [sinceMs, ...[...positions].flat()];
}

/** The inverse of {@link cursorValues}; throws on what that did not make, for it was signed. */
export function parseCursorValues(values: readonly (string | number)[]): TailCursor {
  const [sinceMs, ...pairs] = values.map(Number);
  if (sinceMs === undefined || pairs.length % 2 !== 0) throw new Error("not the values of a tail's cursor");
  const positions = new Map<number, number>();
  for (let index = 0; index < pairs.length; index += 2) positions.set(pairs[index] ?? 0, pairs[index + 1] ?? 0);
  return { sinceMs, positions };
}
