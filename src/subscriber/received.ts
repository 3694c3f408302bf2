export type ReceivedMessage = {
  readonly id: string;
  /** RFC 3339, when it arrived here. */
  readonly time: string;
  readonly topic: string | null;
  readonly attempt: string | null;
  readonly contentType: string | null;
  readonly body: string;
};

const KEPT_MESSAGES = 50;
const KEPT_IDS = 10_000;

/** The last messages received, and the ids of more, all in memory. */
export class Received {
  readonly #messages: ReceivedMessage[] = [];
  /** In the order they came, which is the order a `Set` keeps. */
  readonly #ids = new Set<string>();

  /** Keeps a message; false when one with its id was kept before, and this is a repeat of it. */
  record(message: ReceivedMessage): boolean {
    if (this.#ids.has(message.id)) return false;
    this.#ids.add(message.id);
    for (const oldest of this.#ids) {
      if (this.#ids.size <= KEPT_IDS) break;
      this.#ids.delete(oldest);
    }
    this.#messages.unshift(message);
    this.#messages.splice(KEPT_MESSAGES);
    return true;
  }

  latestFirst(): readonly ReceivedMessage[] {
    return this.#messages;
  }
}
