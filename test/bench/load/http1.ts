/**
 * As much HTTP/1.1 (RFC 9112) as load over loopback needs: reading the messages of a connection, and no more of each
 * than who sent it and where it ends. `node:http` costs several times as much, and would be what is measured.
 */
export type HttpMessage = {
  /** Start line and headers, without the empty line. */
  readonly head: string;
  /** Valid until the next chunk is pushed. */
  readonly body: Buffer;
};

const END_OF_HEAD = "\r\n\r\n";

/** Cuts what arrives on one connection into messages. Throws an `Error` on what it cannot frame. */
export class MessageReader {
  readonly #onMessage: (message: HttpMessage) => void;
  #pending: Buffer | null = null;

  constructor(onMessage: (message: HttpMessage) => void) {
    this.#onMessage = onMessage;
  }

  push(chunk: Buffer): void {
    const buffer = this.#pending === null ? chunk : Buffer.concat([this.#pending, chunk]);
    let start = 0;
    while (start < buffer.length) {
      const headEnd = buffer.indexOf(END_OF_HEAD, start, "latin1");
      if (headEnd === -1) break;
      const head = buffer.toString("latin1", start, headEnd);
      const bodyStart = headEnd + END_OF_HEAD.length;
      const end = messageEnd(head, buffer, bodyStart);
      if (end === null || end > buffer.length) break;
      this.#onMessage({ head, body: buffer.subarray(bodyStart, end) });
      start = end;
    }
    this.#pending = start < buffer.length ? buffer.subarray(start) : null;
  }
}

/** The value of a header, or null. */
export function headerOf(head: string, name: string): string | null {
  const match = new RegExp(`\r\n${name}:[ \t]*([^\r]*)`, "i").exec(head);
  return match?.[1] ?? null;
}

/** The bytes of a POST; `headers` come as they are to be sent. */
export function postRequest(path: string, headers: Readonly<Record<string, string>>, body: Uint8Array): Buffer {
  const lines = Object.entries({ host: "127.0.0.1", ...headers, "content-length": String(body.length) });
  const head = `POST ${path} HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`;
  return Buffer.concat([Buffer.from(head, "latin1"), body]);
}

const CONTENT_LENGTH = /\r\ncontent-length:[ \t]*(\d+)/i;
const CHUNKED = /\r\ntransfer-encoding:[ \t]*chunked/i;

/** Where the message ends; null when that is not known yet. */
function messageEnd(head: string, buffer: Buffer, bodyStart: number): number | null {
  const length = CONTENT_LENGTH.exec(head)?.[1];
  if (length !== undefined) return bodyStart + Number(length);
  return CHUNKED.test(head) ? chunkedEnd(buffer, bodyStart) : bodyStart;
}

function chunkedEnd(buffer: Buffer, bodyStart: number): number | null {
  let at = bodyStart;
  for (;;) {
    const lineEnd = buffer.indexOf("\r\n", at, "latin1");
    if (lineEnd === -1) return null;
    const size = Number.parseInt(buffer.toString("latin1", at, lineEnd), 16);
    if (Number.isNaN(size)) throw new Error("malformed chunk size");
    at = lineEnd + 2 + size + 2;
    if (size === 0) return at;
    if (at > buffer.length) return null;
  }
}
