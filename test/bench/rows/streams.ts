import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { textField } from "../../../src/local/api.ts";
import { type Bench, newTag, warmUpOf } from "../fixture.ts";
import type { Pacing, Requests, Sendings } from "../load/generator.ts";
import { postRequest } from "../load/http1.ts";
import { startReference } from "../load/reference.ts";
import { stampedBody } from "../load/stamp.ts";
import { type StreamAt, type StreamReader, startStreamReader } from "../load/stream-reader.ts";
import { atExit } from "../processes.ts";
import { quantile, spreadOf } from "../statistics.ts";
import type { Comparison, Counts, FigureName, Row, RowReport } from "./row.ts";

/** Of one message: small, for it is what surrounds it that is measured. */
const MESSAGE_BYTES = 256;
const CATCH_UP_MESSAGES = 10_000;
const CATCH_UP_CALLS = 25;
const SECONDS_FACTOR = 0.75;
const JSON_TYPE = { "content-type": "application/json" };
/** Long enough for everything that is on its way to be there. */
const SETTLE_MS = 1_000;

type Appends = { readonly messages: number; readonly connections: number; readonly figure: FigureName };
type Tails = { readonly readers: number; readonly perSecond: number; readonly figures: readonly [FigureName, FigureName] };

const APPENDS: readonly Appends[] = [
  { messages: 1, connections: 64, figure: "streamAppend1Ratio" },
  { messages: 100, connections: 16, figure: "streamAppend100Ratio" },
  { messages: 10_000, connections: 4, figure: "streamAppend10000Ratio" },
];
const TAILS: readonly Tails[] = [
  { readers: 1, perSecond: 50, figures: ["streamTail1P50Ratio", "streamTail1P99Ratio"] },
  { readers: 1_000, perSecond: 4, figures: ["streamTail1000P50Ratio", "streamTail1000P99Ratio"] },
];

/** One of the two that speak the protocol: streams of its own below a path. */
type Server = { readonly name: "reference" | "gateway"; readonly port: number; readonly headers: Readonly<Record<string, string>> };
type Appended = { readonly messagesPerSecond: number; readonly mbPerSecond: number; readonly lost: number; readonly refused: number };
type Tailed = { readonly latenciesMs: Float64Array; readonly lost: number; readonly duplicates: number };
type Figures<Run> = { readonly reference: Run[]; readonly gateway: Run[] };

/** Streams of one's own, next to the protocol's reference server in the same run: writing, catching up, following. */
export const streams: Row = {
  name: "streams",
  async measure(bench): Promise<RowReport> {
    const dataDir = mkdtempSync(join(tmpdir(), "postern-bench-streams-"));
    const forgetDirectory = atExit(() => rmSync(dataDir, { recursive: true, force: true }));
    const reference = await startReference(dataDir);
    const reader = await startStreamReader();
    try {
      const token = textField(await bench.gateway.api("POST", "/v1/tokens", { name: "bench-streams", scopes: ["publish", "consume"] }), "token");
      const servers: readonly Server[] = [
        { name: "reference", port: reference.port, headers: {} },
        { name: "gateway", port: bench.gateway.port, headers: { authorization: `Bearer ${token}` } },
      ];
      return await measureAll(bench, servers, reader);
    } finally {
      await Promise.all([reference.stop(), reader.stop()]);
      rmSync(dataDir, { recursive: true, force: true });
      forgetDirectory();
    }
  },
};

async function measureAll(bench: Bench, servers: readonly Server[], reader: StreamReader): Promise<RowReport> {
  const comparisons: Comparison[] = [];
  const counts: Counts[] = [];
  for (const appends of APPENDS) {
    const runs = await inTurns(bench, servers, (server) => appendRun(bench, server, appends));
    const label = `appended, ${appends.messages} a call`;
    comparisons.push({ ...compared(runs, label, "messages/s", ({ messagesPerSecond }) => messagesPerSecond), figure: appends.figure });
    comparisons.push(compared(runs, label, "MB/s", ({ mbPerSecond }) => mbPerSecond));
    counts.push(...runs.gateway.map(({ lost, refused }) => ({ lost, refused, duplicates: 0, unanswered: 0 })));
  }
  const read = await catchUp(bench, servers, reader);
  comparisons.push({ ...compared(read, "caught up with", "MB/s", (mbPerSecond) => mbPerSecond), figure: "streamCatchUpRatio" });
  for (const tails of TAILS) {
    const runs = await inTurns(bench, servers, (server) => tailRun(bench, server, reader, tails));
    const label = `${tails.readers} live reader${tails.readers === 1 ? "" : "s"}, ${tails.perSecond} messages/s`;
    comparisons.push({ ...compared(runs, `${label}: p50`, "ms", ({ latenciesMs }) => quantile(latenciesMs, 0.5)), figure: tails.figures[0] });
    comparisons.push({ ...compared(runs, `${label}: p99`, "ms", ({ latenciesMs }) => quantile(latenciesMs, 0.99)), figure: tails.figures[1] });
    counts.push(...runs.gateway.map(({ lost, duplicates }) => ({ lost, duplicates, refused: 0, unanswered: 0 })));
  }
  const none: Counts = { lost: 0, duplicates: 0, refused: 0, unanswered: 0 };
  const title = `Durable Streams, JSON messages of ${MESSAGE_BYTES} bytes, next to the protocol's reference server in files`;
  return { name: "streams", title, comparisons, counts: { relay: none, gateway: counts.reduce(added, none) }, notes: [] };
}

async function inTurns<Run>(bench: Bench, servers: readonly Server[], run: (server: Server) => Promise<Run>): Promise<Figures<Run>> {
  const figures: Figures<Run> = { reference: [], gateway: [] };
  for (let turn = 0; turn < bench.runs; turn += 1) for (const server of servers) figures[server.name].push(await run(server));
  return figures;
}

/** A second that is thrown away, then the run that counts, each on a stream of its own. */
async function appendRun(bench: Bench, server: Server, { messages, connections }: Appends): Promise<Appended> {
  const pacing: Pacing = { kind: "closed", connections, seconds: bench.seconds * SECONDS_FACTOR };
  await append(bench, server, await newStream(server), messages, warmUpOf(pacing));
  const stream = await newStream(server);
  const sendings = await append(bench, server, stream, messages, pacing);
  const { startedAtMs, endedAtMs } = sendings;
  const seconds = (endedAtMs - startedAtMs) / 1000;
  const inTime = sendings.status.filter((status, index) => isAccepted(status) && (sendings.answeredAtMs[index] ?? Infinity) <= endedAtMs).length;
  const accepted = sendings.status.filter(isAccepted).length * messages;
  return {
    messagesPerSecond: (inTime * messages) / seconds,
    mbPerSecond: (inTime * messages * MESSAGE_BYTES) / 1e6 / seconds,
    lost: server.name === "gateway" ? Math.max(0, accepted - (await tailOf(server, stream))) : 0,
    refused: sendings.status.filter((status) => status !== 0 && !isAccepted(status)).length,
  };
}

async function append(bench: Bench, server: Server, path: string, messages: number, pacing: Pacing): Promise<Sendings> {
  const request = postRequest(path, { ...server.headers, ...JSON_TYPE }, batchBody(newTag(), messages));
  return bench.generator.run({ port: server.port, capacity: 100_000, pacing, requests: { kind: "repeated", request } });
}

async function catchUp(bench: Bench, servers: readonly Server[], reader: StreamReader): Promise<Figures<number>> {
  const filled = new Map<Server, string>();
  for (const server of servers) {
    const path = await newStream(server);
    const body = batchBody(newTag(), CATCH_UP_MESSAGES);
    for (let call = 0; call < CATCH_UP_CALLS; call += 1) await post(server, path, body);
    filled.set(server, path);
  }
  return inTurns(bench, servers, async (server) => {
    const { bytes, seconds } = await reader.catchUp(streamAt(server, filled.get(server) ?? ""));
    return bytes / 1e6 / seconds;
  });
}

/** From when an append was due to leave until its message was at each of the readers. */
async function tailRun(bench: Bench, server: Server, reader: StreamReader, { readers, perSecond }: Tails): Promise<Tailed> {
  const path = await newStream(server);
  const seconds = bench.seconds;
  const capacity = Math.ceil(perSecond * seconds);
  await reader.follow(streamAt(server, path), readers, capacity);
  const body = stampedBody(newTag(), 0, MESSAGE_BYTES);
  const request = postRequest(path, { ...server.headers, ...JSON_TYPE }, body);
  const requests: Requests = { kind: "stamped", request, bodyStart: request.length - body.length };
  const sendings = await bench.generator.run({ port: server.port, capacity, pacing: { kind: "open", perSecond, seconds }, requests });
  await sleep(SETTLE_MS);
  const { arrivedAtMs, duplicates, ended } = await reader.report();
  if (ended > 0) throw new Error(`${ended} live readers of the ${server.name} were cut off`);
  const latencies: number[] = [];
  let lost = 0;
  for (let message = 0; message < sendings.count; message += 1) {
    for (let index = 0; index < readers; index += 1) {
      const arrived = arrivedAtMs[index * capacity + message] ?? 0;
      if (arrived === 0) lost += 1;
      else latencies.push(arrived - (sendings.sentAtMs[message] ?? 0));
    }
  }
  return { latenciesMs: Float64Array.from(latencies).sort(), lost, duplicates };
}

function batchBody(tag: string, messages: number): Buffer {
  if (messages === 1) return stampedBody(tag, 0, MESSAGE_BYTES);
  const bodies = Array.from({ length: messages }, (_, index) => stampedBody(tag, index, MESSAGE_BYTES).toString("latin1"));
  return Buffer.from(`[${bodies.join(",")}]`, "latin1");
}

async function newStream(server: Server): Promise<string> {
  const path = `/v1/stream/bench/${newTag()}`;
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method: "PUT", headers: { ...server.headers, ...JSON_TYPE } });
  if (answer.status !== 201) throw new Error(`the ${server.name} answered ${answer.status} to a new stream`);
  return path;
}

async function post(server: Server, path: string, body: Buffer): Promise<void> {
  const init = { method: "POST", headers: { ...server.headers, ...JSON_TYPE }, body: new Uint8Array(body) };
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, init);
  if (!answer.ok) throw new Error(`the ${server.name} answered ${answer.status} to an append`);
}

/** How many messages the gateway has: its offsets count them. */
async function tailOf(server: Server, path: string): Promise<number> {
  const answer = await fetch(`http://127.0.0.1:${server.port}${path}`, { method: "HEAD", headers: server.headers });
  return Number(answer.headers.get("stream-next-offset")?.split("_")[1]);
}

function streamAt({ port, headers }: Server, path: string): StreamAt {
  return { port, path, headers };
}

function isAccepted(status: number): boolean {
  return status >= 200 && status < 300;
}

function compared<Run>({ reference, gateway }: Figures<Run>, label: string, unit: string, figure: (run: Run) => number): Comparison {
  const [of, to] = [reference.map(figure), gateway.map(figure)];
  return {
    label, unit, baselineName: "reference", subjectName: "gateway",
    baseline: spreadOf(of), subject: spreadOf(to), ratio: spreadOf(to.map((value, run) => value / (of[run] ?? Number.NaN))),
  };
}

function added(left: Counts, right: Counts): Counts {
  return {
    lost: left.lost + right.lost,
    duplicates: left.duplicates + right.duplicates,
    refused: left.refused + right.refused,
    unanswered: left.unanswered + right.unanswered,
  };
}
