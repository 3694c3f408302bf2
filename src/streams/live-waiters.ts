type Waiter = { readonly resolve: () => void; readonly timer: ReturnType<typeof setTimeout> };

/** An object may have 10,000 timers. */
const MAX_WAITERS = 8_000;

/** Readers at the tail of a log, until something is added. */
export class LiveWaiters {
  #waiting = new Set<Waiter>();

  get isFull(): boolean {
    return this.#waiting.size >= MAX_WAITERS;
  }

  /** Resolves with the next {@link wakeAll}, or after `waitMs`. */
  wait(waitMs: number): Promise<void> {
    return new Promise((resolve) => {
      const waiter: Waiter = {
        resolve,
        timer: setTimeout(() => {
          this.#waiting.delete(waiter);
          resolve();
        }, waitMs),
      };
      this.#waiting.add(waiter);
    });
  }

  wakeAll(): void {
    const woken = this.#waiting;
    this.#waiting = new Set();
    for (const { resolve, timer } of woken) {
      clearTimeout(timer);
      resolve();
    }
  }
}
