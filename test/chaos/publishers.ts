import { randomUUID } from "node:crypto";
import { signMessage, type SnsSimulator } from "../../src/local/sns-simulator/index.ts";
import { answerTo } from "./behaviours.ts";
import { acknowledge, type Asked, certainlyMatching, enter, hashOf, type Place, type Sent } from "./ledgers.ts";
import type { Random } from "./random.ts";
import { ask, pause, type Said, type World } from "./world.ts";

export const TOPICS = ["chaos.orders.created", "chaos.orders.paid", "chaos.users.joined"] as const;
export const SNS_TOPIC = "chaos.sns";
export const QUEUES = ["work", "jobs"] as const;
/** Queues of queries: one whose members are pushed to, one that is pulled from. */
export const QUERY_QUEUES = ["asks", "polls"] as const;
export const NODES = ["steady-node", "moving-node"] as const;
const COLOURS = ["red", "blue"] as const;

/** A message not sent yet. */
type Draft = {
  readonly address: { readonly topic: string } | { readonly command: string } | { readonly node: string };
  readonly bytes: Buffer;
  readonly contentType: string;
  readonly colour: string | null;
  readonly places: readonly Place[];
};

let serial = 0;

/** Bytes that no other message has: JSON with odd spacing, or anything at all; mostly small, a few large. */
function makeBytes(random: Random): { bytes: Buffer; contentType: string } {
  const mark = `${++serial}-${random.int(0, 2 ** 31).toString(36)}`;
  const length = random.chance(0.01) ? random.int(200_000, 700_000) : random.int(0, 600);
  if (random.chance(0.5)) {
    const filling = "é·\\u0000 ".repeat(Math.ceil(length / 10));
    return { bytes: Buffer.from(`{ "mark":"${mark}",\r\n "n" : 1.0, "n":2, "filling": "${filling}"}\n`), contentType: "application/json" };
  }
  const noise = random.bytes(Math.min(length, 600));
  const bytes = Buffer.concat([Buffer.from(`${mark}\0`), noise, Buffer.alloc(Math.max(0, length - 600), noise.length === 0 ? 7 : noise)]);
  return { bytes, contentType: "application/octet-stream" };
}

/** The queues that events on this topic go to as well. */
export const BOUND_QUEUES: readonly { readonly queue: (typeof QUEUES)[number]; readonly topic: string }[] = [
  { queue: "jobs", topic: "chaos.users.joined" },
];

function eventPlaces(world: World, topic: string, colour: string | null): string[] {
  const queues = BOUND_QUEUES.filter((bound) => bound.topic === topic).map(({ queue }) => `queue:${queue}`);
  return [...certainlyMatching(world.ledgers, topic, colour), ...queues];
}

function draftEvent(world: World, random: Random): Draft {
  const topic = random.pick(TOPICS);
  const colour = random.chance(0.5) ? random.pick(COLOURS) : null;
  return { address: { topic }, ...makeBytes(random), colour, places: eventPlaces(world, topic, colour) };
}

function draftCommand(random: Random): Draft {
  const queue = random.pick(QUEUES);
  return { address: { command: `${queue}/run` }, ...makeBytes(random), colour: null, places: [`queue:${queue}`] };
}

function draftDirect(random: Random): Draft {
  const node = random.pick(NODES);
  return { address: { node }, ...makeBytes(random), colour: null, places: [`node:${node}`] };
}

function enterDraft(world: World, draft: Draft): Sent {
  return enter(world.ledgers, {
    what: Object.entries(draft.address).flat().join(" "),
    colour: draft.colour,
    hash: hashOf(draft.bytes),
    firstSentAtMs: Date.now(),
    places: draft.places,
    id: null,
    acknowledgedAtMs: null,
    matched: null,
    offset: null,
  });
}

/** Publishers of all verbs; they end when traffic does. */
export async function runPublishers(world: World, sns: { readonly simulator: SnsSimulator; readonly topicArn: string; readonly sourceId: string }): Promise<void> {
  const loop = async (name: string, longestPauseMs: number, once: (random: Random) => Promise<void>): Promise<void> => {
    const random = world.random.fork(`publisher ${name}`);
    while (!world.stopping) {
      await once(random);
      await pause(world, random.int(0, longestPauseMs));
    }
  };
  await Promise.all([
    loop("events a", 200, (random) => sendOne(world, random, draftEvent(world, random))),
    loop("events b", 400, (random) => sendOne(world, random, draftEvent(world, random))),
    loop("commands", 300, (random) => sendOne(world, random, draftCommand(random))),
    loop("direct", 400, (random) => sendOne(world, random, draftDirect(random))),
    loop("batches", 1_500, (random) => sendBatch(world, random)),
    loop("sns", 500, (random) => sendBySns(world, random, sns)),
    loop("queries a", 600, (random) => askQuery(world, random)),
    loop("queries b", 600, (random) => askQuery(world, random)),
  ]);
}

/**
 * Sends one message. Without an answer it is given up, or sent again under what makes that safe: an id of the
 * publisher's own, or an `Idempotency-Key`.
 */
async function sendOne(world: World, random: Random, draft: Draft): Promise<void> {
  const safety = random.pick(["none", "none", "id", "key"] as const);
  const own = `own-${random.int(0, 2 ** 31).toString(36)}-${serial}`;
  const sent = enterDraft(world, draft);
  const headers = {
    "content-type": draft.contentType,
    ...(draft.colour === null ? {} : { "postern-attribute-colour": draft.colour }),
    ...(safety === "id" ? { "ce-specversion": "1.0", "ce-id": own, "ce-source": "/chaos", "ce-type": "t" } : {}),
    ...(safety === "key" ? { "idempotency-key": own } : {}),
  };
  const [kind, to] = Object.entries(draft.address)[0] ?? [];
  const path = `/v1/${kind === "topic" ? "events" : kind === "command" ? "commands" : "direct"}/${to}`;
  await untilAnswered(world, safety !== "none", `POST ${path}`, () => ask(world, "POST", path, { raw: draft.bytes, headers }), ({ json }) =>
    acknowledge(world.ledgers, sent, json),
  );
}

const QUERY_TIMEOUT_SECONDS = 8;

/** Asks and waits. Whatever comes of it, the message promises nothing beyond its answer. */
async function askQuery(world: World, random: Random): Promise<void> {
  const queue = random.pick(QUERY_QUEUES);
  const draft: Draft = { address: { command: `${queue}/ask` }, ...makeBytes(random), colour: null, places: [] };
  const { hash } = enterDraft(world, draft);
  await world.up;
  const asked: Asked = { what: `query ${queue}`, fromMs: Date.now(), untilMs: Number.POSITIVE_INFINITY, outcome: "open" };
  world.ledgers.asked.push(asked);
  const said = await ask(world, "POST", `/v1/queries/${queue}/ask?timeout=${QUERY_TIMEOUT_SECONDS}`, {
    raw: draft.bytes, headers: { "content-type": draft.contentType },
  });
  asked.untilMs = Date.now();
  asked.outcome = said?.status === 200 ? "answered" : said?.status === 504 ? "timed out" : "failed";
  if (said === null || said.status === 504 || said.status === 503 || said.status === 500) return;
  if (said.status !== 200 || said.text !== answerTo(hash)) {
    world.ledgers.oddAnswers.push(`query ${queue} ${hash}: ${said.status} ${said.text.slice(0, 300)}`);
  }
}

async function sendBatch(world: World, random: Random): Promise<void> {
  const drafts = Array.from({ length: random.int(2, 12) }, () =>
    random.pick([() => draftEvent(world, random), () => draftEvent(world, random), () => draftCommand(random), () => draftDirect(random)])(),
  );
  const all = drafts.map((draft) => enterDraft(world, draft));
  const messages = drafts.map(({ address, bytes, contentType, colour }) => ({
    ...address, dataBase64: bytes.toString("base64"), contentType, ...(colour === null ? {} : { attributes: { colour } }),
  }));
  const safe = random.chance(0.5);
  const headers: Record<string, string> = safe ? { "idempotency-key": `batch-${serial}-${random.int(0, 2 ** 31)}` } : {};
  await untilAnswered(world, safe, "POST /v1/batch", () => ask(world, "POST", "/v1/batch", { body: { messages }, headers }), ({ json }) =>
    all.forEach((sent, index) => acknowledge(world.ledgers, sent, json.results[index])),
  );
}

/** Pushes as SNS does: the same signed bytes again until they are taken. */
async function sendBySns(
  world: World,
  random: Random,
  { simulator, topicArn, sourceId }: { readonly simulator: SnsSimulator; readonly topicArn: string; readonly sourceId: string },
): Promise<void> {
  const text = `sns ${++serial} \u0001 { "n": 1.0, "n": 2 } ${"ü".repeat(random.int(0, 200))}`;
  const messageId = randomUUID();
  const fields = { Type: "Notification", MessageId: messageId, TopicArn: topicArn, Message: text, Timestamp: new Date().toISOString() };
  const version = random.pick(["1", "2"] as const);
  const body = JSON.stringify({
    ...fields,
    SignatureVersion: version,
    Signature: signMessage(fields, simulator.signingKey, version),
    SigningCertURL: simulator.certificateUrl,
    UnsubscribeURL: "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
  });
  const headers = {
    "content-type": "text/plain; charset=UTF-8",
    "x-amz-sns-message-type": "Notification",
    "x-amz-sns-message-id": messageId,
    "x-amz-sns-topic-arn": topicArn,
  };
  const bytes = Buffer.from(text);
  const sent = enterDraft(world, { address: { topic: SNS_TOPIC }, bytes, contentType: "text/plain", colour: null, places: eventPlaces(world, SNS_TOPIC, null) });
  await untilAnswered(world, true, "POST /in", () => ask(world, "POST", `/in/${sourceId}`, { raw: Buffer.from(body), headers, token: null }), ({ json }) =>
    acknowledge(world.ledgers, sent, { id: messageId, matched: json?.matched ?? sent.places.length }),
  );
}

/** Sends until answered, or once where sending again is not safe. A refusal that is not for want of room is odd. */
async function untilAnswered(world: World, again: boolean, what: string, send: () => Promise<Said>, taken: (said: NonNullable<Said>) => void): Promise<void> {
  for (;;) {
    await world.up;
    const said = await send();
    if (said !== null && said.status < 300) return taken(said);
    if (said !== null && said.status < 500 && said.status !== 429 && said.status !== 409) {
      world.ledgers.oddAnswers.push(`${what}: ${said.status} ${JSON.stringify(said.json)}`);
      return;
    }
    if (!again || world.stopping) return;
    await pause(world, 300);
  }
}
