import { setTimeout as sleep } from "node:timers/promises";
import { textField } from "../../../src/local/api.ts";
import { ATTRIBUTE, type Bench, CONNECTIONS, newSubscribers, publishRun } from "../fixture.ts";
import type { Gateway } from "../gateway.ts";
import { addHistory, addOpenRetries, addSubscriptions } from "../growth/seeds.ts";
import { quantile } from "../statistics.ts";
import type { Subscriber } from "../system.ts";
import { compare, inTurns } from "./compare.ts";
import { type Comparison, countsOf, refusals, type Row, type RowReport } from "./row.ts";
import { sustainedPerSecond } from "./throughput.ts";
import { wideLoads } from "./wide-load.ts";

const SUBSCRIPTIONS = { few: 10, many: 100_000 } as const;
const OPEN_RETRIES = 1_000_000;
const FAILING_ENDPOINTS = 4;
const HISTORY_RECORDS = 10_000_000;
const HISTORY_DEADLINE_MS = 150_000;
const PER_SECOND = 100;
const P99_SECONDS_FACTOR = 1.5;
const SETTLED_MS = 3000;
const BATCH_MESSAGES = 250;
/** A number that no subscriber of a run has. */
const UNUSED_SUBSCRIBER = 999;

/** Two gateways that differ in one thing only, next to each other. */
type Pair = { readonly topic: string; readonly subscribers: readonly Subscriber[]; readonly small: Side; readonly grown: Side };
type Side = { readonly name: string; readonly gateway: Gateway };
type Filter = Readonly<Record<string, readonly string[]>>;
type What = { readonly throughput?: Pick<Comparison, "figure" | "target">; readonly p99?: Pick<Comparison, "figure" | "target"> };

/** The throughput of one topic, whatever else the tenant subscribes to. */
export const subscriptions: Row = {
  name: "subscriptions",
  measure: (bench) =>
    withPair(bench, "subscriptions", growSubscriptions, (pair) =>
      measurePair(bench, "subscriptions", "one topic among few and many subscriptions of the tenant", pair, {
        throughput: { figure: "subscriptionsRatio", target: { atLeast: 0.9 } },
      })),
};

/** What publishers to a topic notice of receivers that are down. */
export const retries: Row = {
  name: "retries",
  measure: (bench) =>
    withPair(bench, "retries", growRetries, (pair) =>
      measurePair(bench, "retries", `a topic of which ${OPEN_RETRIES.toLocaleString("en-US")} deliveries wait for a retry, due later, next to one without`, pair, {
        p99: { figure: "openRetriesP99Ratio", target: { atMost: 1.2 } },
      })),
};

/** Everything that grows in a gateway's life, each by itself; takes long, and is measured only when it is asked for. */
export const growth: Row = {
  name: "growth",
  async measure(bench): Promise<RowReport> {
    const both = { throughput: {}, p99: {} } satisfies What;
    const reports = [
      await withPair(bench, "subscriptions", growSubscriptions, (pair) => measurePair(bench, "growth", "", pair, both)),
      await withPair(bench, "retries", growRetries, (pair) => measurePair(bench, "growth", "", pair, both)),
      await withPair(bench, "history", growHistory, (pair) => measurePair(bench, "growth", "", pair, both)),
      ...(await wideLoads(bench)),
    ];
    return {
      name: "growth",
      title: `throughput with ${CONNECTIONS} connections, and publish to arrival at ${PER_SECOND} messages/s, of what has grown next to what has not`,
      comparisons: reports.flatMap(({ comparisons }) => comparisons),
      counts: Object.fromEntries(reports.flatMap(({ counts }) => Object.entries(counts))),
      notes: reports.flatMap(({ notes }) => notes),
    };
  },
};

type Grow = (bench: Bench, pair: Omit<Pair, "small" | "grown"> & { readonly small: Gateway; readonly grown: Gateway }) => Promise<Pair>;

async function withPair(bench: Bench, name: string, grow: Grow, use: (pair: Pair) => Promise<RowReport>): Promise<RowReport> {
  const running: Gateway[] = [];
  try {
    const small = await bench.startAnother(`${name}-small`);
    running.push(small);
    const grown = await bench.startAnother(`${name}-grown`);
    running.push(grown);
    const subscribers = newSubscribers(bench.receiver, 1);
    const topic = `bench.${name}`;
    for (const gateway of [small, grown]) await gateway.subscribe(topic, subscribers);
    const pair = await grow(bench, { topic, subscribers, small, grown });
    running.push(pair.small.gateway, pair.grown.gateway);
    return await use(pair);
  } finally {
    // One that was started again has the files, and the processes, of the one before.
    for (const gateway of new Map(running.map((each) => [each.port, each])).values()) await gateway.stop();
  }
}

const growSubscriptions: Grow = async (bench, { small, grown, ...rest }) => {
  const grow = async (gateway: Gateway, count: number): Promise<Gateway> => {
    const templateId = await endpointOf(bench, gateway, "bench.other");
    // One to the topic, and the template.
    return gateway.restartAfter((dataDir) => addSubscriptions(dataDir, templateId, count - 2));
  };
  return {
    ...rest,
    small: { name: `${SUBSCRIPTIONS.few}`, gateway: await grow(small, SUBSCRIPTIONS.few) },
    grown: { name: SUBSCRIPTIONS.many.toLocaleString("en-US"), gateway: await grow(grown, SUBSCRIPTIONS.many) },
  };
};

const growRetries: Grow = async (bench, { small, grown, ...rest }) => {
  const endpointIds: string[] = [];
  const filter = { [ATTRIBUTE.name]: ["of those that are down"] };
  while (endpointIds.length < FAILING_ENDPOINTS) endpointIds.push(await endpointOf(bench, grown, rest.topic, filter));
  for (const gateway of [small, grown]) await publishBatch(gateway, rest.topic);
  await sleep(SETTLED_MS);
  return {
    ...rest,
    small: { name: "no open retries", gateway: await small.restartAfter(() => undefined) },
    grown: {
      name: `${OPEN_RETRIES.toLocaleString("en-US")} open retries`,
      gateway: await grown.restartAfter((dataDir) => addOpenRetries(dataDir, `default/topics/${rest.topic}`, endpointIds, OPEN_RETRIES)),
    },
  };
};

const growHistory: Grow = async (bench, { small, grown, ...rest }) => {
  await publishRun(bench, grown, rest.topic, rest.subscribers, { kind: "closed", connections: CONNECTIONS, seconds: bench.seconds });
  await sleep(SETTLED_MS);
  let size = "";
  const gateway = await grown.restartAfter((dataDir) => {
    const { records, rows } = addHistory(dataDir, HISTORY_RECORDS, HISTORY_DEADLINE_MS);
    size = `${records.toLocaleString("en-US")} records of history in ${rows.toLocaleString("en-US")} rows`;
  });
  return { ...rest, small: { name: "no history", gateway: await small.restartAfter(() => undefined) }, grown: { name: size, gateway } };
};

/** Messages that match nobody, so that the topic's log has some. */
async function publishBatch({ api }: Gateway, topic: string): Promise<void> {
  const data = { text: "postern bench ".repeat(8) };
  await api("POST", "/v1/batch", { messages: Array.from({ length: BATCH_MESSAGES }, () => ({ topic, data })) });
}

/** An endpoint that nothing is sent to: nothing it subscribes to is published, and what is open for it is not due. */
async function endpointOf(bench: Bench, { api }: Gateway, topic: string, filter: Filter = { [ATTRIBUTE.name]: [ATTRIBUTE.value] }): Promise<string> {
  const url = bench.receiver.url(UNUSED_SUBSCRIBER);
  return textField(await api("POST", "/v1/endpoints", { kind: "push", url, topics: [topic], filter }), "id");
}

async function measurePair(bench: Bench, name: string, title: string, pair: Pair, { throughput, p99 }: What): Promise<RowReport> {
  const { topic, subscribers, small, grown } = pair;
  const turns = (pacing: Parameters<typeof publishRun>[4]) => {
    const side = (of: Side) => ({ name: of.name, run: () => publishRun(bench, of.gateway, topic, subscribers, pacing) });
    return inTurns(bench, side(small), side(grown));
  };
  const comparisons: Comparison[] = [];
  const measured = [];
  if (throughput !== undefined) {
    const sides = await turns({ kind: "closed", connections: CONNECTIONS, seconds: bench.seconds });
    comparisons.push(...compare(sides, (run) => sustainedPerSecond(run, 1), { label: `${topic}, accepted and delivered`, unit: "messages/s", ...throughput }));
    measured.push(...sides.baseline.runs, ...sides.subject.runs);
  }
  if (p99 !== undefined) {
    const sides = await turns({ kind: "open", perSecond: PER_SECOND, seconds: bench.seconds * P99_SECONDS_FACTOR });
    for (const [label, share] of [["p50", 0.5], ["p99", 0.99]] as const) {
      const figure = label === "p99" ? p99 : {};
      comparisons.push(...compare(sides, (run) => quantile(run.latenciesMs, share), { label: `${topic}, publish to arrival, ${label}`, unit: "ms", ...figure }));
    }
    measured.push(...sides.baseline.runs, ...sides.subject.runs);
  }
  return { name, title, comparisons, counts: { [`gateway, ${topic}`]: countsOf(measured) }, notes: refusals("gateway", measured) };
}
