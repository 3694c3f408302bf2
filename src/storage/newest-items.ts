/** A list of what is in packs, newest first. Packs overlap in time, so several are read before one item is certain. */
export type PackedList<Pack, Item> = {
  /** The packs after one, at most `limit`, from those that may hold the newest items on. */
  readonly packsAfter: (pack: Pack | undefined, limit: number) => Promise<readonly Pack[]>;
  /** Neither the pack nor one that comes after it holds anything newer. */
  readonly newestMs: (pack: Pack) => number;
  /** Those items of a pack that belong into the list. */
  readonly itemsOf: (pack: Pack) => readonly Item[];
  readonly timeMs: (item: Item) => number;
  /** Newest first. Items that are equal are the same one, which two packs have. */
  readonly compare: (left: Item, right: Item) => number;
};

const MIN_PACKS = 4;
const MAX_PACKS = 128;

/** The first `limit` items of the list. */
export async function newestItems<Pack, Item>(list: PackedList<Pack, Item>, limit: number): Promise<Item[]> {
  let items: Item[] = [];
  let last: Pack | undefined;
  let read = 0;
  for (let count = MIN_PACKS; ; count = packsFor(limit - items.length, items.length / read)) {
    const packs = await list.packsAfter(last, count);
    last = packs.at(-1);
    read += packs.length;
    items = distinct([...items, ...packs.flatMap(list.itemsOf)], list.compare).slice(0, limit);
    const oldest = items[limit - 1];
    if (last === undefined || packs.length < count) return items;
    if (oldest !== undefined && list.timeMs(oldest) > list.newestMs(last)) return items;
  }
}

/** In the order of `compare`, and of those that it takes for equal only one. */
export function distinct<Item>(items: readonly Item[], compare: (left: Item, right: Item) => number): Item[] {
  const sorted = [...items].sort(compare);
  return sorted.filter((item, index) => {
    const before = sorted[index - 1];
    return before === undefined || compare(before, item) !== 0;
  });
}

/** About how many packs have this many more items, where each had so many so far. */
function packsFor(items: number, perPack: number): number {
  const count = Math.ceil(items / Math.max(perPack, 0.1));
  return Math.min(Math.max(count, MIN_PACKS), MAX_PACKS);
}

/** Compares by values in order, the greater first. */
export function descending(left: readonly (string | number)[], right: readonly (string | number)[]): number {
  for (const [index, one] of left.entries()) {
    const other = right[index] ?? one;
    if (one !== other) return one > other ? -1 : 1;
  }
  return 0;
}
