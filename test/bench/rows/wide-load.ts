import { randomBytes } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { gatewayApi, textField } from "../../../src/local/api.ts";
import { ATTRIBUTE, type Bench, BODY_BYTES, CONNECTIONS, newTag, warmUpOf } from "../fixture.ts";
import type { Gateway } from "../gateway.ts";
import type { Pacing } from "../load/generator.ts";
import { postRequest } from "../load/http1.ts";
import { stampedBody } from "../load/stamp.ts";
import { measure, type Measurement } from "../measure.ts";
import { quantile } from "../statistics.ts";
import type { Subscriber } from "../system.ts";
import { compare, inTurns } from "./compare.ts";
import { countsOf, refusals, type RowReport } from "./row.ts";
import { sustainedPerSecond } from "./throughput.ts";

const TOPICS = 10_000;
const TENANTS = 1_000;
const PER_SECOND = 100;
/** More than can be published in a second. */
const PREPARED_PER_SECOND = 4_000;
const CACHES_EXPIRE_MS = 1200;
/** Tenants that are made at the same time. */
const MADE_AT_ONCE = 8;

/** Where messages go in turn: a path, and who publishes there. */
type Destination = { readonly path: string; readonly headers: Readonly<Record<string, string>> };
type Spread = { readonly label: string; readonly destinations: readonly Destination[]; readonly subscriber: Subscriber };

/** One gateway, whose load falls on one topic or one tenant, and on many in turn. */
export async function wideLoads(bench: Bench): Promise<RowReport[]> {
  const gateway = await bench.startAnother("wide");
  try {
    return [await measureWide(bench, gateway, manyTopics(bench, gateway)), await measureWide(bench, gateway, manyTenants(bench, gateway))];
  } finally {
    await gateway.stop();
  }
}

async function measureWide(bench: Bench, gateway: Gateway, spreads: Promise<readonly [Spread, Spread]>): Promise<RowReport> {
  const [one, many] = await spreads;
  const turns = async (pacing: Pacing) => {
    const side = (spread: Spread) => ({ name: spread.label, run: () => run(bench, gateway, spread, pacing) });
    return inTurns(bench, side(one), side(many));
  };
  // Each destination once before anything counts: an object is made at its first message.
  await publishEach(bench, gateway, many);
  const closed = await turns({ kind: "closed", connections: CONNECTIONS, seconds: bench.seconds });
  const open = await turns({ kind: "open", perSecond: PER_SECOND, seconds: bench.seconds });
  const measured = [closed, open].flatMap(({ baseline, subject }) => [...baseline.runs, ...subject.runs]);
  return {
    name: "growth",
    title: "",
    comparisons: [
      ...compare(closed, (each) => sustainedPerSecond(each, 1), { label: `${many.label}, accepted and delivered`, unit: "messages/s" }),
      ...compare(open, (each) => quantile(each.latenciesMs, 0.5), { label: `${many.label}, publish to arrival, p50`, unit: "ms" }),
      ...compare(open, (each) => quantile(each.latenciesMs, 0.99), { label: `${many.label}, publish to arrival, p99`, unit: "ms" }),
    ],
    counts: { [`gateway, ${many.label}`]: countsOf(measured) },
    notes: refusals("gateway", measured),
  };
}

async function run(bench: Bench, gateway: Gateway, spread: Spread, pacing: Pacing): Promise<Measurement> {
  await publish(bench, gateway, spread, warmUpOf(pacing), PREPARED_PER_SECOND);
  return publish(bench, gateway, spread, pacing, Math.ceil(pacing.seconds * PREPARED_PER_SECOND));
}

/** As long as it takes. */
async function publishEach(bench: Bench, gateway: Gateway, spread: Spread): Promise<void> {
  await publish(bench, gateway, spread, { kind: "closed", connections: CONNECTIONS, seconds: 120 }, spread.destinations.length);
}

/** Every message goes to the next destination. */
function publish(bench: Bench, gateway: Gateway, spread: Spread, pacing: Pacing, count: number): Promise<Measurement> {
  const tag = newTag();
  const requests = Array.from({ length: count }, (_, index) => {
    const { path, headers } = spread.destinations[index % spread.destinations.length] ?? { path: "/", headers: {} };
    const all = { ...headers, "content-type": "application/json", [`postern-attribute-${ATTRIBUTE.name}`]: ATTRIBUTE.value };
    return postRequest(path, all, stampedBody(tag, index, BODY_BYTES));
  });
  return measure(bench, { system: gateway, subscribers: [spread.subscriber], tag, pacing, requests: { kind: "prepared", requests }, messagesPerRequest: 1 });
}

async function manyTopics(bench: Bench, gateway: Gateway): Promise<[Spread, Spread]> {
  const subscriber = subscriberOf(bench);
  await gateway.subscribe("bench.wide.*", [subscriber]);
  const destinations = Array.from({ length: TOPICS }, (_, index) => ({ path: `/v1/events/bench.wide.t${index}`, headers: gateway.headers }));
  return [{ label: "1 topic", destinations: destinations.slice(0, 1), subscriber }, { label: `${TOPICS} topics`, destinations, subscriber }];
}

async function manyTenants(bench: Bench, gateway: Gateway): Promise<[Spread, Spread]> {
  const subscriber = subscriberOf(bench);
  const destinations: Destination[] = [];
  while (destinations.length < TENANTS) {
    const made = Array.from({ length: MADE_AT_ONCE }, (_, index) => makeTenant(gateway, subscriber, destinations.length + index));
    destinations.push(...(await Promise.all(made)));
  }
  await sleep(CACHES_EXPIRE_MS);
  return [{ label: "1 tenant", destinations: destinations.slice(0, 1), subscriber }, { label: `${TENANTS} tenants`, destinations, subscriber }];
}

/** A tenant with an endpoint of its own and a token that may publish. */
async function makeTenant({ api, port, operatorToken }: Gateway, { url, secret }: Subscriber, number: number): Promise<Destination> {
  const id = textField(await api("POST", "/v1/tenants", { name: `bench ${number}` }), "id");
  const scopes = ["publish", "manage"];
  const asTenant = { authorization: `Bearer ${operatorToken}`, "content-type": "application/json", "postern-tenant": id };
  const made = await fetch(`http://127.0.0.1:${port}/v1/tokens`, { method: "POST", headers: asTenant, body: JSON.stringify({ name: "bench", scopes }) });
  if (!made.ok) throw new Error(`no token for a tenant: ${made.status} ${await made.text()}`);
  const token = textField((await made.json()) as Record<string, unknown>, "token");
  const asItself = gatewayApi(`http://127.0.0.1:${port}`, token, new AbortController().signal);
  const filter = { [ATTRIBUTE.name]: [ATTRIBUTE.value] };
  await asItself("POST", "/v1/endpoints", { kind: "push", url, secret, topics: ["bench.tenants"], filter });
  return { path: "/v1/events/bench.tenants", headers: { authorization: `Bearer ${token}` } };
}

function subscriberOf({ receiver }: Bench): Subscriber {
  return { url: receiver.url(0), secret: `whsec_${randomBytes(32).toString("base64")}` };
}
