import { setTimeout as delay } from "node:timers/promises";
import { call, createEndpoint, eventually } from "../system/api.ts";
import { type Gateway, startGateway } from "../system/gateway.ts";
import { type Receiver, startReceiver, status } from "../system/receiver.ts";

export type NeighboursOptions = {
  /** Messages that wait for an endpoint of another tenant which never answers. */
  readonly backlog: number;
  readonly quietEndpoints: number;
  /** Each round publishes once to every quiet endpoint, evenly over a second. */
  readonly rounds: number;
  readonly timeoutSeconds: number;
  readonly say: (line: string) => void;
};

/** How long the quiet ones' messages took from publish to arrival, in ms, and what else was counted. */
export type NeighboursReport = {
  readonly alone: readonly number[];
  readonly beside: readonly number[];
  readonly quietSent: number;
  readonly quietArrivals: number;
  /** Requests to the endpoint that hangs while the quiet ones were measured, and for how long that was. */
  readonly requestsToHanging: number;
  readonly measuredMs: number;
  /** Of the backlog, once it answered; in how many requests, and what was most at once. */
  readonly drained: number;
  readonly requestsToDrain: number;
  readonly mostAtOnce: number;
};

const NOISY = "noisy";
const BATCH = 500;
const WARM_UP_ROUNDS = 3;

/** Measures quiet endpoints alone, then beside a neighbour with a backlog that hangs; then lets it answer. */
export async function runNeighbours(options: NeighboursOptions): Promise<NeighboursReport> {
  const { backlog, quietEndpoints, rounds, timeoutSeconds, say } = options;
  const receiver = await startReceiver();
  const gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  try {
    const noisy = await setUp(gateway, receiver, quietEndpoints, timeoutSeconds);
    let hanging = true;
    let atOnce = 0;
    let mostAtOnce = 0;
    receiver.answerWith(async (request, response) => {
      if (request.path !== "/noisy") return status(204)(request, response);
      if (hanging) return undefined;
      mostAtOnce = Math.max(mostAtOnce, ++atOnce);
      await delay(5);
      atOnce--;
      return status(204)(request, response);
    });
    await publishRounds(gateway, receiver, quietEndpoints, WARM_UP_ROUNDS);
    const alone = await publishRounds(gateway, receiver, quietEndpoints, rounds);
    say(`alone: ${describe(alone)}`);
    for (let sent = 0; sent < backlog; sent += BATCH) await publishNoisy(gateway, Math.min(BATCH, backlog - sent));
    const requestsBefore = countAt(receiver, "/noisy");
    const startedAtMs = Date.now();
    const beside = await publishRounds(gateway, receiver, quietEndpoints, rounds);
    const requestsToHanging = countAt(receiver, "/noisy");
    const measuredMs = Date.now() - startedAtMs;
    say(`beside a backlog of ${backlog}: ${describe(beside)}; ${requestsToHanging - requestsBefore} requests to who hangs in ${measuredMs} ms`);
    hanging = false;
    const before = countAt(receiver, "/noisy");
    await call(gateway, "POST", `/v1/endpoints/${noisy}/pause`, { headers: TENANT });
    await call(gateway, "POST", `/v1/endpoints/${noisy}/resume`, { headers: TENANT });
    const drained = await eventually(async () => new Set(idsAt(receiver, "/noisy", before)).size, (count) => count >= backlog, 30_000 + backlog * 10);
    return {
      alone, beside, drained, mostAtOnce, requestsToHanging, measuredMs,
      quietSent: quietEndpoints * (2 * rounds + WARM_UP_ROUNDS),
      quietArrivals: receiver.requests.filter(({ path }) => path.startsWith("/quiet")).length,
      requestsToDrain: countAt(receiver, "/noisy") - before,
    };
  } finally {
    await gateway.dispose();
    await receiver.close();
  }
}

const TENANT = { "postern-tenant": NOISY };

async function setUp(gateway: Gateway, receiver: Receiver, quietEndpoints: number, timeoutSeconds: number): Promise<string> {
  await call(gateway, "POST", "/v1/tenants", { body: { id: NOISY, name: NOISY } });
  const body = { kind: "push", url: `${receiver.url}/noisy`, topics: ["noisy"], timeoutSeconds, retrySchedule: Array(30).fill(60) };
  const { json } = await call(gateway, "POST", "/v1/endpoints", { body, headers: TENANT });
  // One of the quiet tenant's own hangs as well, on all their topics.
  await createEndpoint(gateway, { url: `${receiver.url}/noisy-too`, topics: ["quiet.**"], timeoutSeconds });
  for (let index = 0; index < quietEndpoints; index++) {
    await createEndpoint(gateway, { url: `${receiver.url}/quiet/${index}`, topics: [`quiet.t${index}`] });
  }
  await delay(1_500); // until every cache knows them
  return json.id;
}

async function publishNoisy(gateway: Gateway, count: number): Promise<void> {
  const messages = Array.from({ length: count }, (_, index) => ({ topic: "noisy", data: index }));
  const answer = await eventually(() => call(gateway, "POST", "/v1/batch", { body: { messages }, headers: TENANT }), ({ status: code }) => code !== 503, 60_000);
  if (answer.status !== 202) throw new Error(`the backlog was answered ${answer.status}: ${answer.bytes.toString()}`);
}

/** Publishes to each quiet endpoint in turn, evenly, whatever the answers take; ms from publish to arrival. */
async function publishRounds(gateway: Gateway, receiver: Receiver, quietEndpoints: number, rounds: number): Promise<number[]> {
  const sentAtMs = new Map<string, number>();
  const publishing: Promise<void>[] = [];
  const stepMs = 1_000 / quietEndpoints;
  const startedAtMs = Date.now();
  for (let sent = 0; sent < quietEndpoints * rounds; sent++) {
    await delay(Math.max(0, startedAtMs + sent * stepMs - Date.now()));
    const atMs = Date.now();
    publishing.push(
      call(gateway, "POST", `/v1/events/quiet.t${sent % quietEndpoints}`, { raw: "quiet", headers: { "content-type": "text/plain" } }).then(({ status: code, json }) => {
        if (code !== 202) throw new Error(`a quiet publish was answered ${code}`);
        sentAtMs.set(json.id, atMs);
      }),
    );
  }
  await Promise.all(publishing);
  const arrivals = () => new Map(receiver.requests.filter(({ path }) => path.startsWith("/quiet")).map(({ headers, arrivedAt }) => [headers["webhook-id"] ?? "", arrivedAt]));
  const arrived = await eventually(async () => arrivals(), (all) => [...sentAtMs.keys()].every((id) => all.has(id)), 30_000);
  return [...sentAtMs].map(([id, atMs]) => (arrived.get(id) ?? Number.NaN) - atMs).sort((left, right) => left - right);
}

export function quantileOf(sorted: readonly number[], share: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? Number.NaN;
}

function describe(sorted: readonly number[]): string {
  return `p50 ${quantileOf(sorted, 0.5)} ms, p99 ${quantileOf(sorted, 0.99)} ms, longest ${sorted.at(-1)} ms of ${sorted.length}`;
}

function countAt(receiver: Receiver, path: string): number {
  return receiver.requests.filter((request) => request.path === path).length;
}

function idsAt(receiver: Receiver, path: string, from: number): string[] {
  return receiver.requests.filter((request) => request.path === path).slice(from).map(({ headers }) => headers["webhook-id"] ?? "");
}
