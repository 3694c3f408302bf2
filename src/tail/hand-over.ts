/** Nothing came in time. */
export const NOTHING = Symbol("nothing");

type Offer<Item> = { readonly item: Item; readonly taken: () => void };

/** Hands items from many producers to one consumer, one at a time: a producer goes on once its item was taken. */
export class HandOver<Item> {
  #offers: Offer<Item>[] = [];
  #arrived: (() => void) | null = null;
  #closed = false;

  get isClosed(): boolean {
    return this.#closed;
  }

  /** Resolves when the item was taken, or never will be. */
  offer(item: Item): Promise<void> {
    if (this.#closed) return Promise.resolve();
    return new Promise((taken) => {
      this.#offers.push({ item, taken });
      this.#arrived?.();
    });
  }

  /** The next item, in the order of offers; {@link NOTHING} after `waitMs`; null once closed and empty. */
  async take(waitMs: number): Promise<Item | typeof NOTHING | null> {
    if (this.#offers.length === 0 && !this.#closed) await this.#arrival(waitMs);
    const next = this.#offers.shift();
    if (next === undefined) return this.#closed ? null : NOTHING;
    next.taken();
    return next.item;
  }

  /** What was offered may still be taken; nothing more is. */
  close(): void {
    this.#closed = true;
    this.#arrived?.();
  }

  #arrival(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, waitMs);
      this.#arrived = () => {
        clearTimeout(timer);
        this.#arrived = null;
        resolve();
      };
    });
  }
}
