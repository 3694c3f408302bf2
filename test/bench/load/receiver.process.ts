/**
 * The receiving end, a process of its own: notes when each message first arrived at each subscriber, counts what
 * arrived again, keeps a few requests whole for the bench to check, and answers 204 at once.
 */
import { createServer, type Socket } from "node:net";
import { nowMs } from "./clock.ts";
import { type HttpMessage, MessageReader } from "./http1.ts";
import type { ReceiverAnswer, ReceiverQuestion, Sample } from "./receiver.ts";
import { readStamp } from "./stamp.ts";

type Run = {
  readonly capacity: number;
  /** By subscriber, then by message; 0: not yet. */
  readonly arrivedAtMs: Float64Array;
  readonly samples: Sample[];
  distinct: number;
  duplicates: number;
};

const ANSWER = Buffer.from("HTTP/1.1 204 No Content\r\n\r\n", "latin1");
const REFUSAL = Buffer.from("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", "latin1");
/** One request in this many is kept whole: enough to notice a broken signature, too few to cost anything. */
const SAMPLE_EVERY = 499;
const SUBSCRIBER_PATH = /^POST \/s\/(\d+) /;

/** All of them stay open, so that what comes after its run still counts where it belongs. */
const runs = new Map<string, Run>();
/** Requests that are none of ours, or not to be understood. */
let strays = 0;

function newRun(subscribers: number, capacity: number): Run {
  return { capacity, arrivedAtMs: new Float64Array(subscribers * capacity), samples: [], distinct: 0, duplicates: 0 };
}

function record({ head, body }: HttpMessage): void {
  const stamp = readStamp(body);
  const run = runs.get(stamp?.tag ?? "");
  const subscriber = Number(SUBSCRIBER_PATH.exec(head)?.[1] ?? Number.NaN);
  const slot = stamp === null || run === undefined ? Number.NaN : subscriber * run.capacity + stamp.index;
  if (stamp === null || run === undefined || stamp.index >= run.capacity || !(slot < run.arrivedAtMs.length)) {
    strays += 1;
    return;
  }
  if (run.arrivedAtMs[slot] !== 0) {
    run.duplicates += 1;
    return;
  }
  run.arrivedAtMs[slot] = nowMs();
  if (run.distinct % SAMPLE_EVERY === 0) run.samples.push({ subscriber, head, body: new Uint8Array(body) });
  run.distinct += 1;
}

function serve(socket: Socket): void {
  socket.setNoDelay(true);
  const reader = new MessageReader((message) => {
    record(message);
    socket.write(ANSWER);
  });
  socket.on("data", (chunk) => {
    try {
      reader.push(chunk);
    } catch {
      strays += 1;
      socket.end(REFUSAL);
    }
  });
  // A connection that breaks shows in the counts: what it carried is missing from them.
  socket.on("error", () => socket.destroy());
}

function answer(question: ReceiverQuestion): ReceiverAnswer {
  if (question.kind === "begin") runs.set(question.tag, newRun(question.subscribers, question.capacity));
  const run = runs.get(question.tag);
  if (run === undefined) throw new Error(`the run ${question.tag} was never begun`);
  const { distinct, duplicates, arrivedAtMs, samples } = run;
  return question.kind === "report" ? { kind: "report", arrivedAtMs, samples, duplicates } : { kind: "counts", distinct, duplicates, strays };
}

const server = createServer(serve).listen(0, "127.0.0.1", () => {
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the receiver has no port");
  process.send?.({ kind: "listening", port: address.port } satisfies ReceiverAnswer);
});
process.on("message", (question: ReceiverQuestion) => process.send?.(answer(question)));
process.on("disconnect", () => process.exit(0));
