import { createConnection, type Socket } from "node:net";
import { MessageReader } from "./http1.ts";

/** What came back; `head` and `body` are read only when the answer was not 2xx. */
export type Answer = {
  /** 0: the connection broke before the answer. */
  readonly status: number;
  readonly head: string;
  readonly body: string;
};
export type Answered = (answer: Answer) => void;

const STATUS_START = "HTTP/1.1 ".length;

/** A keep-alive connection with one request under way at a time; connects again when it was closed. */
export class Connection {
  readonly #port: number;
  #socket: Socket | null = null;
  #waiting: Answered | null = null;

  constructor(port: number) {
    this.#port = port;
  }

  /** `request` must stay as it is until the answer. */
  send(request: Uint8Array, answered: Answered): void {
    this.#waiting = answered;
    this.#socket ??= this.#connect();
    this.#socket.write(request);
  }

  close(): void {
    this.#socket?.destroy();
    this.#socket = null;
  }

  #connect(): Socket {
    const socket = createConnection({ host: "127.0.0.1", port: this.#port, noDelay: true });
    const reader = new MessageReader(({ head, body }) => {
      const status = Number(head.slice(STATUS_START, STATUS_START + 3));
      this.#answer({ status, head, body: status < 300 ? "" : body.toString() });
    });
    socket.on("data", (chunk) => reader.push(chunk));
    // "close" follows, which tells the sender.
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      if (this.#socket !== socket) return;
      this.#socket = null;
      this.#answer({ status: 0, head: "", body: "the connection broke" });
    });
    return socket;
  }

  #answer(answer: Answer): void {
    const waiting = this.#waiting;
    this.#waiting = null;
    waiting?.(answer);
  }
}
