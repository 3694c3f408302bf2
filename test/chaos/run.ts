import { buildApp } from "fauxqs";
import { setTimeout as delay } from "node:timers/promises";
import { startSnsSimulator } from "../../src/local/sns-simulator/index.ts";
import { startGateway } from "../system/gateway.ts";
import { startSeverableProxy } from "../system/severable-proxy.ts";
import { administer, create, type Wanted } from "./administrator.ts";
import { FAILURES, phasesOf } from "./behaviours.ts";
import { type Check, runChecks } from "./checks.ts";
import { type Control, startControl } from "./control.ts";
import { deadLetterIds } from "./dead-letters.ts";
import { faultyEnvironment, injectFaults } from "./faults.ts";
import { readHistory } from "./history.ts";
import { CERTAIN_AFTER_MS, newLedgers } from "./ledgers.ts";
import { BOUND_QUEUES, NODES, QUERY_QUEUES, QUEUES, runPublishers, SNS_TOPIC } from "./publishers.ts";
import { startPuller } from "./pullers.ts";
import { awaitQuiet, healEndpoints, resendHeldBack } from "./quiet.ts";
import { randomOf } from "./random.ts";
import { type ChaosReceiver, startChaosReceiver } from "./receiver.ts";
import { insist, type World } from "./world.ts";

export type ChaosOptions = {
  readonly seed: string;
  readonly durationMs: number;
  readonly say: (line: string) => void;
  /** Ends the gateway with the run. */
  readonly signal?: AbortSignal;
};

export type ChaosReport = {
  readonly checks: readonly Check[];
  /** What the run was made of. */
  readonly counts: Counts;
  /** What the gateways wrote, one after the other. */
  readonly logs: string;
};

export type Counts = {
  readonly sent: number;
  readonly acknowledged: number;
  readonly arrivals: number;
  readonly endpoints: number;
  readonly kills: number;
  readonly stops: number;
  readonly sqsOutages: number;
  readonly d1Troubles: number;
  readonly queueTroubles: number;
  readonly clockJumps: number;
  /** Answered, of those asked. */
  readonly queries: string;
  /** Calls to D1 and the queue that were tampered with, by what was done to them. */
  readonly tampered: string;
  readonly resent: number;
  readonly seconds: number;
};

const CREDENTIALS = { accessKeyId: "AKIDEXAMPLE", secretAccessKey: "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY" };
const KEYS = { AWS_ACCESS_KEY_ID: CREDENTIALS.accessKeyId, AWS_SECRET_ACCESS_KEY: CREDENTIALS.secretAccessKey, AWS_REGION: "us-east-1" };
const AFTER_THE_LAST_MS = 1_500;
/** Beside a part of the run's own length. */
const QUIET_TIMEOUT_MS = 90_000;

/** Endpoints that stay. Those called steady answer well all the time, so that only the gateway's own faults show there. */
const FIXED: readonly Wanted[] = [
  { label: "steady-all", topics: ["chaos.**"] },
  { label: "all", topics: ["chaos.**"] },
  { label: "orders", topics: ["chaos.orders.*"] },
  { label: "red", topics: ["chaos.orders.*"], colour: "red" },
  { label: "brittle", topics: ["chaos.orders.paid"], retrySchedule: [1] },
  { label: "steady-ordered", topics: ["chaos.orders.*"], ordered: true },
  { label: "ordered", topics: ["chaos.orders.*"], ordered: true },
  { label: "ordered-by-colour", topics: ["chaos.orders.*"], ordered: true, orderingKey: "colour" },
  { label: "sns", topics: [SNS_TOPIC] },
  { label: "steady-member", queue: "work" },
  { label: "member-a", queue: "work" },
  { label: "member-b", queue: "work" },
  { label: "node", node: NODES[0] },
  { label: "steady-asked", queue: QUERY_QUEUES[0] },
  { label: "asked", queue: QUERY_QUEUES[0] },
  { label: "steady-pull", kind: "pull", topics: ["chaos.orders.*"] },
];

/** One run: traffic and faults for the time given, then healing, quiet and the checks. */
export async function runChaos({ seed, durationMs, say, signal }: ChaosOptions): Promise<ChaosReport> {
  const random = randomOf(seed);
  const ledgers = newLedgers();
  const startedAtMs = Date.now();
  const emulator = buildApp({ logger: false, host: "127.0.0.1" });
  const sqs = await startSeverableProxy(Number(new URL(await emulator.listen({ host: "127.0.0.1", port: 0 })).port));
  const simulator = await startSnsSimulator();
  const receiver = await startChaosReceiver(ledgers);
  const control = await startControl();
  const gateway = await startGateway({
    env: { ...faultyEnvironment(control), POSTERN_ALLOW_HOSTS: receiver.host, POSTERN_MAILBOX: "sqs", POSTERN_SQS_ENDPOINT: sqs.url, POSTERN_SNS_ENDPOINT: simulator.url, ...KEYS },
  });
  const world: World = { random, ledgers, gateway, up: Promise.resolve(), pastLogs: [], stopping: false };
  signal?.addEventListener("abort", () => void world.gateway.dispose().finally(() => process.exit(1)));
  try {
    const { topicArn, sourceId } = await setUp(world, receiver, durationMs);
    const pullers = startPullers(world, fixedMailboxes(world));
    say(`seed ${seed}: ${durationMs / 1000} s of traffic and faults`);
    const traffic = Promise.all([
      runPublishers(world, { simulator, topicArn, sourceId }),
      administer(world, receiver, durationMs),
      injectFaults(world, { sqs, control }, durationMs),
    ]);
    await Promise.race([delay(durationMs), traffic]);
    world.stopping = true;
    await traffic;
    say(`healing: ${ledgers.sent.length} sent, ${ledgers.arrivals.length} arrivals`);
    receiver.heal();
    await healAll(world, receiver);
    pullers.push(...startPullers(world, movingMailboxes(world)));
    for (const { puller } of pullers) puller.heal();
    const isPulledOpen = (): boolean => pullers.some(({ puller }) => puller.unsettled.size > 0);
    const quiet = await awaitQuiet(world, { timeoutMs: QUIET_TIMEOUT_MS + durationMs / 4, say, isPulledOpen });
    say(quiet ? "quiet: checking" : "it did not become quiet in time: checking");
    // It says when the last delivery is closed; what comes after that, comes twice, and has the time it needs.
    const history = await readHistory(world, ledgers.sent.filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null));
    await delay(AFTER_THE_LAST_MS);
    await Promise.all(pullers.map(({ puller }) => puller.stop()));
    const unsettled = await Promise.all(pullers.map(async ({ place, puller }) => {
      const id = ledgers.endpoints.get(place)?.id ?? null;
      const deadLetters = id === null || puller.unsettled.size === 0 ? new Set<string>() : await deadLetterIds(sqs.url, id, CREDENTIALS);
      return { place, receivesById: puller.unsettled, deadLetters };
    }));
    const checks = runChecks({ ledgers, history, strays: receiver.strays, unsettled, startedAtMs });
    return { checks, counts: count(world, control, startedAtMs), logs: [...world.pastLogs, world.gateway.logs()].join("\n--- killed or stopped ---\n") };
  } finally {
    world.stopping = true;
    await world.gateway.dispose();
    await Promise.all([receiver.close(), simulator.close(), sqs.close(), control.close()]);
    await emulator.close();
  }
}

async function setUp(world: World, receiver: ChaosReceiver, durationMs: number): Promise<{ topicArn: string; sourceId: string }> {
  for (const queue of [...QUEUES, ...QUERY_QUEUES]) {
    const topics = BOUND_QUEUES.filter((bound) => bound.queue === queue).map(({ topic }) => topic);
    await insist(world, "PUT", `/v1/queues/${queue}`, { body: { topics, maxReceives: 1000 } });
  }
  for (const wanted of FIXED) {
    const random = world.random.fork(`endpoint ${wanted.label}`);
    const { id } = await create(world, receiver, random, wanted);
    if (id === null) throw new Error(`${wanted.label} could not be created: ${world.ledgers.oddAnswers.join("; ")}`);
    if (!wanted.label.startsWith("steady")) receiver.behave(wanted.label, phasesOf(random, durationMs, wanted.queue === QUERY_QUEUES[0] ? FAILURES : undefined));
  }
  const topicArn = "arn:aws:sns:us-east-1:123456789012:chaos";
  const source = await insist(world, "POST", "/v1/sources", { body: { kind: "sns", topicArns: [topicArn], topic: SNS_TOPIC } });
  await delay(CERTAIN_AFTER_MS * 2);
  return { topicArn, sourceId: source.json.id };
}

type PulledPlace = { readonly place: string; readonly path: string; readonly answers?: true };

function fixedMailboxes({ ledgers }: World): PulledPlace[] {
  return [
    { place: "steady-pull", path: `/v1/endpoints/${ledgers.endpoints.get("steady-pull")?.id}` },
    { place: "queue:jobs", path: "/v1/queues/jobs" },
    { place: "queue:polls", path: "/v1/queues/polls", answers: true },
  ];
}

/** Of the endpoints that came during the run and stayed; nobody pulls from them before. */
function movingMailboxes({ ledgers }: World): PulledPlace[] {
  return [...ledgers.endpoints.values()]
    .filter(({ kind, label, id, deleteSentAtMs }) => kind === "pull" && label.startsWith("moving") && id !== null && deleteSentAtMs === null)
    .map(({ label, id }) => ({ place: label, path: `/v1/endpoints/${id}` }));
}

function startPullers(world: World, places: readonly PulledPlace[]) {
  return places.map(({ place, path, answers }) => ({ place, puller: startPuller(world, place, path, answers) }));
}

/** Whatever was stopped flows again, and everybody a message may wait for is there. */
async function healAll(world: World, receiver: ChaosReceiver): Promise<void> {
  await healEndpoints(world);
  const random = world.random.fork("healing");
  await create(world, receiver, random, { label: "moving-last", node: NODES[1] });
  await resendHeldBack(world, receiver.heldBack);
}

function count({ ledgers }: World, control: Control, startedAtMs: number): Counts {
  const faults = (kind: string): number => ledgers.faults.filter((fault) => fault.kind === kind).length;
  return {
    sent: ledgers.sent.length,
    acknowledged: ledgers.sent.filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null).length,
    arrivals: ledgers.arrivals.length,
    endpoints: ledgers.endpoints.size,
    kills: faults("kill"),
    stops: faults("stop"),
    sqsOutages: faults("sqs"),
    d1Troubles: faults("d1"),
    queueTroubles: faults("queue"),
    clockJumps: faults("clock"),
    queries: `${ledgers.asked.filter(({ outcome }) => outcome === "answered").length}/${ledgers.asked.length}`,
    tampered: [...control.done].map(([what, times]) => `${times} × ${what}`).join(" + "),
    resent: ledgers.resent.size,
    seconds: Math.round((Date.now() - startedAtMs) / 1000),
  };
}
