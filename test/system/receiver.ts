import { createServer, type IncomingMessage, type ServerResponse } from "node:http";

export type ReceivedRequest = {
  readonly method: string;
  readonly path: string;
  /** Names in lower case; repeated ones joined with `, `. */
  readonly headers: Readonly<Record<string, string>>;
  /** The bytes as they came. */
  readonly body: Buffer;
  /** Milliseconds since the epoch, when the last byte was here. */
  readonly arrivedAt: number;
};

export type Answer = (request: ReceivedRequest, response: ServerResponse) => void | Promise<void>;

/** A subscriber of the tests: it records what arrives and answers as it is told. */
export type Receiver = {
  readonly url: string;
  /** `127.0.0.1:port`, for POSTERN_ALLOW_HOSTS. */
  readonly host: string;
  /** In the order of arrival. */
  readonly requests: readonly ReceivedRequest[];
  /** How every request from now on is answered; 204 until told otherwise. */
  readonly answerWith: (answer: Answer) => void;
  /** How often each `webhook-id` arrived. */
  readonly countsById: () => ReadonlyMap<string, number>;
  /** Resolves as soon as this holds of the requests; rejects, saying what came, when it does not in time. */
  readonly until: (holds: (requests: readonly ReceivedRequest[]) => boolean, timeoutMs?: number) => Promise<void>;
  readonly close: () => Promise<void>;
};

const DEFAULT_TIMEOUT_MS = 20_000;

/** An answer of a status and nothing else. */
export function status(code: number, headers: Record<string, string> = {}): Answer {
  return (_request, response) => {
    response.writeHead(code, headers).end();
  };
}

/** Listens on loopback; port 0 for any that is free. */
export async function startReceiver(options: { readonly port?: number } = {}): Promise<Receiver> {
  const requests: ReceivedRequest[] = [];
  const watchers = new Set<() => void>();
  let answer: Answer = status(204);

  const handle = async (incoming: IncomingMessage, response: ServerResponse): Promise<void> => {
    const request = await readRequest(incoming);
    requests.push(request);
    for (const look of watchers) look();
    await answer(request, response);
  };
  const server = createServer((incoming, response) => {
    handle(incoming, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the receiver has no port");
  const host = `127.0.0.1:${address.port}`;

  return {
    url: `http://${host}`,
    host,
    requests,
    answerWith: (next) => {
      answer = next;
    },
    countsById: () => countById(requests),
    until: (holds, timeoutMs = DEFAULT_TIMEOUT_MS) =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => {
          watchers.delete(look);
          reject(new Error(`the receiver waited ${timeoutMs} ms in vain; ${requests.length} requests came`));
        }, timeoutMs);
        const look = (): void => {
          if (!holds(requests)) return;
          clearTimeout(timer);
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
      }),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function readRequest(incoming: IncomingMessage): Promise<ReceivedRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(Buffer.from(chunk));
  const headers = Object.entries(incoming.headers).map(([name, value]) => [name, Array.isArray(value) ? value.join(", ") : (value ?? "")]);
  return {
    method: incoming.method ?? "",
    path: incoming.url ?? "",
    headers: Object.fromEntries(headers),
    body: Buffer.concat(chunks),
    arrivedAt: Date.now(),
  };
}

function countById(requests: readonly ReceivedRequest[]): ReadonlyMap<string, number> {
  const counts = new Map<string, number>();
  for (const { headers } of requests) {
    const id = headers["webhook-id"];
    if (id !== undefined) counts.set(id, (counts.get(id) ?? 0) + 1);
  }
  return counts;
}
