type Waiter = { readonly place: number; readonly max: number; readonly resolve: () => void };

/** Those who wait for a message, first come first served. */
export class Waiters {
  /** In the order of their places. */
  readonly #waiting: Waiter[] = [];
  #lastPlace = 0;

  get isEmpty(): boolean {
    return this.#waiting.length === 0;
  }

  /** How many messages would serve all of them. */
  get wanted(): number {
    return this.#waiting.reduce((sum, { max }) => sum + max, 0);
  }

  /** A place at the end of the line. */
  newPlace(): number {
    return ++this.#lastPlace;
  }

  /** Resolves when it is the waiter's turn, or after `waitMs`. */
  async wait(place: number, max: number, waitMs: number): Promise<void> {
    this.#lastPlace = Math.max(this.#lastPlace, place);
    let timer: ReturnType<typeof setTimeout> | null = null;
    let waiter: Waiter | null = null;
    await new Promise<void>((resolve) => {
      waiter = { place, max, resolve };
      const behind = this.#waiting.findIndex((other) => other.place > place);
      this.#waiting.splice(behind < 0 ? this.#waiting.length : behind, 0, waiter);
      timer = setTimeout(resolve, waitMs);
    });
    clearTimeout(timer);
    const index = waiter === null ? -1 : this.#waiting.indexOf(waiter);
    if (index >= 0) this.#waiting.splice(index, 1);
  }

  /** Lets as many come as so many messages can serve. */
  wake(messages: number): void {
    let left = messages;
    while (left > 0) {
      const waiter = this.#waiting.shift();
      if (waiter === undefined) return;
      left -= waiter.max;
      waiter.resolve();
    }
  }
}
