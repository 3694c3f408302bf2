/** The sending end, a process of its own, so that neither what is measured nor the bench itself delays its clock. */
import { nowMs } from "./clock.ts";
import { type Answer, Connection } from "./connection.ts";
import type { GeneratorAnswer, Job, Pacing, Requests, Sendings } from "./generator.ts";
import { headerOf } from "./http1.ts";
import { restamp } from "./stamp.ts";

/** Connections an open loop may have open before a request has to wait for one; the wait counts as latency. */
const MAX_OPEN_CONNECTIONS = 512;
const ANSWER_DEADLINE_MS = 20_000;
/** `setTimeout` is late by up to about a millisecond, so below this rate the last stretch is spent looking at the clock. */
const PRECISE_BELOW_PER_SECOND = 250;
const TIMER_SLACK_MS = 1.5;

type Log = {
  count: number;
  unsent: number;
  unanswered: number;
  refusal: string | null;
  unavailable: number;
  withRetryAfter: number;
  readonly sentAtMs: Float64Array;
  readonly answeredAtMs: Float64Array;
  readonly status: Uint16Array;
};

async function run(job: Job): Promise<Sendings> {
  const log: Log = {
    count: 0,
    unsent: 0,
    unanswered: 0,
    refusal: null,
    unavailable: 0,
    withRetryAfter: 0,
    sentAtMs: new Float64Array(job.capacity),
    answeredAtMs: new Float64Array(job.capacity),
    status: new Uint16Array(job.capacity),
  };
  const connections: Connection[] = [];
  const startedAtMs = nowMs();
  if (job.pacing.kind === "closed") await closedLoop(job, job.pacing, log, connections);
  else await openLoop(job, job.pacing, log, connections);
  const endedAtMs = Math.min(nowMs(), startedAtMs + job.pacing.seconds * 1000);
  await answersOf(log);
  for (const connection of connections) connection.close();
  return {
    count: log.count,
    unsent: log.unsent,
    sentAtMs: log.sentAtMs.subarray(0, log.count),
    answeredAtMs: log.answeredAtMs.subarray(0, log.count),
    status: log.status.subarray(0, log.count),
    startedAtMs,
    endedAtMs,
    unavailable: log.unavailable,
    withRetryAfter: log.withRetryAfter,
    refusal: log.refusal,
  };
}

/** Takes the next number; null when the job has no more. */
function nextIndex(job: Job, log: Log): number | null {
  const limit = job.requests.kind === "prepared" ? Math.min(job.capacity, job.requests.requests.length) : job.capacity;
  return log.count < limit ? log.count++ : null;
}

function send(connection: Connection, request: Uint8Array, index: number, sentAtMs: number, log: Log, done: () => void): void {
  log.sentAtMs[index] = sentAtMs;
  log.unanswered += 1;
  connection.send(request, (answer) => {
    log.unanswered -= 1;
    log.status[index] = answer.status;
    log.answeredAtMs[index] = nowMs();
    if (answer.status < 200 || answer.status > 299) noteRefusal(answer, log);
    done();
  });
}

function noteRefusal({ status, head, body }: Answer, log: Log): void {
  log.refusal = `${status} ${body}`;
  if (status !== 503) return;
  log.unavailable += 1;
  if (headerOf(head, "retry-after") !== null) log.withRetryAfter += 1;
}

/** What sends request `index`; one for each connection, for it may write the number into a buffer of its own. */
function requestMaker(requests: Requests): (index: number) => Uint8Array {
  switch (requests.kind) {
    case "repeated":
      return () => requests.request;
    case "prepared":
      return (index) => requests.requests[index] ?? new Uint8Array();
    case "stamped": {
      const buffer = Buffer.from(requests.request);
      return (index) => {
        restamp(buffer, requests.bodyStart, index);
        return buffer;
      };
    }
  }
}

function closedLoop(job: Job, pacing: Pacing & { kind: "closed" }, log: Log, connections: Connection[]): Promise<void> {
  const endAtMs = nowMs() + pacing.seconds * 1000;
  return new Promise((resolve) => {
    // A connection that is never answered must not hold up the end.
    const end = setTimeout(resolve, pacing.seconds * 1000);
    let busy = pacing.connections;
    for (let opened = 0; opened < pacing.connections; opened += 1) {
      const connection = new Connection(job.port);
      connections.push(connection);
      const make = requestMaker(job.requests);
      const next = (): void => {
        const now = nowMs();
        const index = now < endAtMs ? nextIndex(job, log) : null;
        if (index !== null) send(connection, make(index), index, now, log, next);
        else if (--busy === 0) {
          clearTimeout(end);
          resolve();
        }
      };
      next();
    }
  });
}

type Lane = { readonly connection: Connection; readonly make: (index: number) => Uint8Array };

function openLoop(job: Job, pacing: Pacing & { kind: "open" }, log: Log, connections: Connection[]): Promise<void> {
  const intervalMs = 1000 / pacing.perSecond;
  const total = Math.min(job.capacity, Math.floor(pacing.seconds * pacing.perSecond));
  const startAtMs = nowMs() + intervalMs;
  const idle: Lane[] = [];
  const waiting: number[] = [];
  let due = 0;

  const dispatch = (index: number): void => {
    const lane = idle.pop() ?? openLane(job, pacing.overloadConnections ?? MAX_OPEN_CONNECTIONS, connections);
    if (lane === null) {
      waiting.push(index);
      return;
    }
    send(lane.connection, lane.make(index), index, startAtMs + index * intervalMs, log, () => {
      idle.push(lane);
      const next = waiting.shift();
      if (next !== undefined) dispatch(next);
    });
  };
  const end = (): void => {
    if (pacing.overloadConnections === undefined) return;
    // The last of all, for whoever waits is served in turn.
    log.unsent = waiting.length;
    log.count -= waiting.length;
    waiting.length = 0;
  };
  return new Promise<void>((resolve) => {
    const tick = (): void => {
      while (due < total && startAtMs + due * intervalMs <= nowMs()) {
        due += 1;
        const index = nextIndex(job, log);
        if (index === null) return resolve();
        dispatch(index);
      }
      if (due >= total) return resolve();
      sleepUntil(startAtMs + due * intervalMs, pacing.perSecond, tick);
    };
    tick();
  }).then(end);
}

function openLane(job: Job, maxConnections: number, connections: Connection[]): Lane | null {
  if (connections.length >= maxConnections) return null;
  const connection = new Connection(job.port);
  connections.push(connection);
  return { connection, make: requestMaker(job.requests) };
}

function sleepUntil(atMs: number, perSecond: number, wake: () => void): void {
  const waitMs = atMs - nowMs();
  if (perSecond > PRECISE_BELOW_PER_SECOND) setTimeout(wake, Math.max(1, waitMs));
  else if (waitMs > TIMER_SLACK_MS) setTimeout(wake, waitMs - TIMER_SLACK_MS);
  else setImmediate(wake);
}

function answersOf(log: Log): Promise<void> {
  const giveUpAtMs = nowMs() + ANSWER_DEADLINE_MS;
  return new Promise((resolve) => {
    const look = (): void => {
      if (log.unanswered === 0 || nowMs() > giveUpAtMs) resolve();
      else setTimeout(look, 10);
    };
    look();
  });
}

process.on("message", (job: Job) => {
  void run(job).then((sendings) => process.send?.({ kind: "done", sendings } satisfies GeneratorAnswer));
});
process.on("disconnect", () => process.exit(0));
process.send?.({ kind: "ready" } satisfies GeneratorAnswer);
