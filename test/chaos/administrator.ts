import { phasesOf } from "./behaviours.ts";
import type { EndpointEntry, Place, SecretEntry } from "./ledgers.ts";
import { NODES, SNS_TOPIC, TOPICS } from "./publishers.ts";
import type { Random } from "./random.ts";
import { type ChaosReceiver, TIMEOUT_SECONDS } from "./receiver.ts";
import { ask, insist, pause, type World } from "./world.ts";

/** What an endpoint is made of; `place` is its label unless it shares a queue or a node. */
export type Wanted = {
  readonly label: string;
  readonly kind?: "push" | "pull";
  readonly topics?: readonly string[];
  readonly colour?: string;
  readonly queue?: string;
  readonly node?: string;
  readonly ordered?: true;
  /** The attribute that its order is by. */
  readonly orderingKey?: "colour";
  readonly retrySchedule?: readonly number[];
};

const RETRY_STEPS = 30;
/** Beyond the end of a secret's overlap: the age of caches, and an attempt under way. */
const SECRET_SLACK_MS = 2_500;
const MAX_MOVING_ENDPOINTS = 6;

/** Creates an endpoint and enters it; it is there from its answer on, and perhaps without one. */
export async function create(world: World, receiver: ChaosReceiver, random: Random, wanted: Wanted): Promise<EndpointEntry> {
  const { label, kind = "push", topics = [], colour = null, queue, node } = wanted;
  const place: Place = queue !== undefined ? `queue:${queue}` : node !== undefined ? `node:${node}` : label;
  const secret = newSecret(random);
  const entry: EndpointEntry = {
    label, place, kind, patterns: topics, colour, ordered: wanted.ordered === true, orderedByColour: wanted.orderingKey === "colour", secrets: [secret], createSentAtMs: Date.now(),
    id: null, createdAtMs: null, deleteSentAtMs: null, deletedAtMs: null, rotating: false,
  };
  world.ledgers.endpoints.set(label, entry);
  const said = await ask(world, "POST", "/v1/endpoints", {
    body: {
      kind, name: label, topics, secret: secret.secret, timeoutSeconds: TIMEOUT_SECONDS,
      ...(kind === "push" ? { url: `${receiver.url}/${label}` } : {}),
      ...(colour === null ? {} : { filter: { colour: [colour] } }),
      ...(queue === undefined ? {} : { queue }),
      ...(entry.ordered ? { ordered: true, orderingKey: wanted.orderingKey ?? null } : {}),
      ...(node === undefined ? {} : { node }),
      retrySchedule: wanted.retrySchedule ?? Array.from({ length: RETRY_STEPS }, () => random.int(1, 3)),
    },
  });
  if (said?.status === 201) {
    entry.id = said.json.id;
    entry.createdAtMs = secret.acknowledgedAtMs = Date.now();
  } else if (said !== null && said.status < 500) {
    // A node is taken until its endpoint is gone.
    if (said.status !== 409) world.ledgers.oddAnswers.push(`create ${label}: ${said.status} ${JSON.stringify(said.json)}`);
    world.ledgers.endpoints.delete(label);
  }
  return entry;
}

function newSecret(random: Random): SecretEntry {
  return {
    secret: `whsec_${random.bytes(random.int(24, 64)).toString("base64")}`,
    fromMs: Date.now(), acknowledgedAtMs: null, untilMs: Number.POSITIVE_INFINITY,
  };
}

/** Creates, pauses, resumes, enables, deletes and rotates until traffic ends. */
export async function administer(world: World, receiver: ChaosReceiver, runMs: number): Promise<void> {
  const random = world.random.fork("administrator");
  let made = 0;
  while (!world.stopping) {
    await world.up;
    const here = [...world.ledgers.endpoints.values()].filter(({ id, deleteSentAtMs }) => id !== null && deleteSentAtMs === null);
    const moving = here.filter(({ label }) => label.startsWith("moving"));
    const troubled = here.filter(({ label }) => !label.startsWith("steady"));
    const act = random.pick(["create", "delete", "pause", "resume", "resume", "enable", "enable", "rotate"] as const);
    if (act === "create" && moving.length < MAX_MOVING_ENDPOINTS) {
      const label = `moving-${++made}`;
      receiver.behave(label, phasesOf(random.fork(label), runMs));
      await create(world, receiver, random, { label, ...movingKind(random) });
    } else if (act === "delete" && moving.length > 0) {
      await remove(world, random.pick(moving));
    } else if (act === "rotate") {
      await rotate(world, random, random.pick(here));
    } else if (act === "pause" || act === "resume" || act === "enable") {
      await ask(world, "POST", `/v1/endpoints/${random.pick(troubled).id}/${act}`);
    }
    await pause(world, random.int(100, 1_500));
  }
}

function movingKind(random: Random): Omit<Wanted, "label"> {
  return random.pick([
    () => ({ topics: [random.pick([...TOPICS, SNS_TOPIC, "chaos.*.*", "chaos.**"])] }),
    () => ({ topics: [random.pick(TOPICS)] }),
    () => ({ queue: "work" }),
    () => ({ node: NODES[1] }),
    () => ({ kind: "pull" as const, topics: [random.pick(TOPICS)] }),
  ])();
}

/** Deletes it, asking until it is answered: it may go on until then. */
async function remove(world: World, endpoint: EndpointEntry): Promise<void> {
  endpoint.deleteSentAtMs = Date.now();
  await insist(world, "DELETE", `/v1/endpoints/${endpoint.id}`);
  endpoint.deletedAtMs = Date.now();
}

/** Gives it a new secret; what was the secret ends with the overlap, from the answer on. */
async function rotate(world: World, random: Random, endpoint: EndpointEntry): Promise<void> {
  const overlapSeconds = random.int(0, 6);
  const secret = newSecret(random);
  endpoint.secrets.push(secret);
  const said = await ask(world, "POST", `/v1/endpoints/${endpoint.id}/secret/rotate`, { body: { secret: secret.secret, overlapSeconds } });
  if (said?.status !== 200) {
    if (said !== null && said.status < 500) world.ledgers.oddAnswers.push(`rotate ${endpoint.label}: ${said.status} ${JSON.stringify(said.json)}`);
    return;
  }
  secret.acknowledgedAtMs = Date.now();
  for (const earlier of endpoint.secrets) {
    if (earlier !== secret) earlier.untilMs = Math.min(earlier.untilMs, Date.now() + overlapSeconds * 1000 + SECRET_SLACK_MS);
  }
}
