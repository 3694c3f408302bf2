/** The reading end, a process of its own: follows a stream with any number of server-sent event readers, or catches up. */
import { Agent, get, type IncomingMessage } from "node:http";
import { createConnection, type Socket } from "node:net";
import { nowMs } from "./clock.ts";
import { STAMP_OFFSET, TAG_LENGTH } from "./stamp.ts";
import type { CaughtUp, Followed, ReaderAnswer, ReaderQuestion, StreamAt } from "./stream-reader.ts";

/** As {@link stampedBody} begins: what stands between the tag and the text is the number of the message. */
const STAMP = new RegExp(`"id":"[^"]{${TAG_LENGTH}}(\\d{12})"`, "g");
const UP_TO_DATE = '"upToDate":true';
/** A stamp may be cut by the end of a chunk: so much of it is looked at again with the next one. */
const OVERLAP = STAMP_OFFSET + TAG_LENGTH + 16;

type Following = {
  readonly sockets: Socket[];
  readonly arrivedAtMs: Float64Array;
  duplicates: number;
  ended: number;
};

let following: Following | null = null;

async function follow(stream: StreamAt, readers: number, capacity: number): Promise<void> {
  const run: Following = { sockets: [], arrivedAtMs: new Float64Array(readers * capacity), duplicates: 0, ended: 0 };
  following = run;
  await Promise.all(Array.from({ length: readers }, (_, reader) => openReader(run, stream, reader, capacity)));
}

/** Resolves once the reader is at the end of the stream, from where on everything is counted. */
function openReader(run: Following, { port, path, headers }: StreamAt, reader: number, capacity: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: "127.0.0.1", port, noDelay: true });
    run.sockets.push(socket);
    const lines = Object.entries({ host: "127.0.0.1", accept: "text/event-stream", ...headers });
    socket.write(`GET ${path}?offset=-1&live=sse HTTP/1.1\r\n${lines.map(([name, value]) => `${name}: ${value}\r\n`).join("")}\r\n`);
    let rest = "";
    let isReady = false;
    socket.on("data", (chunk) => {
      const text = rest + chunk.toString("latin1");
      if (!isReady && text.includes(UP_TO_DATE)) {
        isReady = true;
        resolve();
      }
      const now = nowMs();
      let end = 0;
      for (const { 1: digits, 0: stamp, index } of text.matchAll(STAMP)) {
        const slot = reader * capacity + Number(digits);
        if (run.arrivedAtMs[slot] === 0) run.arrivedAtMs[slot] = now;
        else run.duplicates += 1;
        end = index + stamp.length;
      }
      rest = text.slice(Math.max(end, text.length - OVERLAP));
    });
    socket.on("error", () => socket.destroy());
    socket.on("close", () => {
      run.ended += 1;
      reject(new Error("a reader's connection ended before it was ready"));
    });
  });
}

function report(): Followed {
  const run = following;
  if (run === null) throw new Error("nothing was followed");
  following = null;
  const { arrivedAtMs, duplicates, ended, sockets } = run;
  for (const socket of sockets) socket.destroy();
  return { kind: "followed", arrivedAtMs, duplicates, ended };
}

async function catchUp({ port, path, headers }: StreamAt): Promise<CaughtUp> {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const startedAtMs = nowMs();
  let bytes = 0;
  let answers = 0;
  for (let offset = "-1", isOver = false; !isOver; answers += 1) {
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      get({ host: "127.0.0.1", port, path: `${path}?offset=${offset}`, headers, agent }, resolve).once("error", reject);
    });
    for await (const chunk of answer) bytes += (chunk as Buffer).length;
    if (answer.statusCode !== 200) throw new Error(`reading was answered with ${answer.statusCode}`);
    offset = String(answer.headers["stream-next-offset"]);
    isOver = answer.headers["stream-up-to-date"] === "true";
  }
  agent.destroy();
  return { kind: "caught-up", bytes, answers, seconds: (nowMs() - startedAtMs) / 1000 };
}

async function answer(question: ReaderQuestion): Promise<ReaderAnswer> {
  switch (question.kind) {
    case "follow":
      await follow(question.stream, question.readers, question.capacity);
      return { kind: "following" };
    case "report":
      return report();
    case "catch-up":
      return catchUp(question.stream);
  }
}

process.on("message", (question: ReaderQuestion) => {
  void answer(question).then((answered) => process.send?.(answered));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ kind: "ready" } satisfies ReaderAnswer);
