import { setTimeout as delay } from "node:timers/promises";
import { call, createEndpoint, eventually } from "../system/api.ts";
import { startGateway } from "../system/gateway.ts";
import { type Receiver, startReceiver } from "../system/receiver.ts";

export type BurstOptions = { readonly messages: number; readonly perSecond: number; readonly say: (line: string) => void };

/** What an endpoint with a rate limit got of a burst. */
export type BurstReport = {
  readonly label: string;
  readonly requests: number;
  readonly messages: number;
  /** The most requests in any second, wherever it begins. */
  readonly busiestSecond: number;
  /** Of each topic. */
  readonly inOrder: boolean;
  readonly seconds: number;
};

const BATCH = 500;
/** Each is a stream of its own, with an order of its own; the endpoint's rate is one. */
const TOPICS = 3;
const LABELS = ["limited", "limited-ordered"] as const;
const MAX_SLACK_MS = 60_000;
const SAY_EVERY_MS = 15_000;

/** Publishes a burst for two endpoints with the same rate limit, one of which wants it in order, and waits for all of it. */
export async function runBurst({ messages, perSecond, say }: BurstOptions): Promise<BurstReport[]> {
  const receiver = await startReceiver();
  const gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  try {
    for (const label of LABELS) {
      await createEndpoint(gateway, { url: `${receiver.url}/${label}`, topics: ["burst.*"], rateLimit: perSecond, ordered: label === "limited-ordered" });
    }
    await delay(1_500); // until every cache knows them
    for (let from = 0; from < messages; from += BATCH) {
      const part = Array.from({ length: Math.min(BATCH, messages - from) }, (_, index) => ({ topic: `burst.t${(from + index) % TOPICS}`, data: from + index }));
      const answer = await eventually(() => call(gateway, "POST", "/v1/batch", { body: { messages: part } }), ({ status }) => status !== 503, MAX_SLACK_MS);
      if (answer.status !== 202) throw new Error(`the burst was answered ${answer.status}: ${answer.bytes.toString()}`);
    }
    say(`published ${messages}`);
    await untilAll(receiver, { messages, perSecond, say });
    await delay(1_000); // what comes twice
    return LABELS.map((label) => report(receiver, label));
  } finally {
    await gateway.dispose();
    await receiver.close();
  }
}

/** Waits for twice the time that the rate gives, and says now and then how far it is. */
async function untilAll(receiver: Receiver, { messages, perSecond, say }: BurstOptions): Promise<void> {
  const counts = (): number[] => LABELS.map((label) => receiver.requests.filter(({ path }) => path === `/${label}`).length);
  const deadline = Date.now() + MAX_SLACK_MS + (2 * messages * 1000) / perSecond;
  for (let sayAtMs = Date.now() + SAY_EVERY_MS; counts().some((count) => count < messages); await delay(100)) {
    if (Date.now() > deadline) return say("not all of it came in time");
    if (Date.now() < sayAtMs) continue;
    say(`so far ${counts().join(" and ")}`);
    sayAtMs += SAY_EVERY_MS;
  }
}

function at(receiver: Receiver, label: string): { readonly id: string; readonly index: number; readonly atMs: number }[] {
  return receiver.requests
    .filter(({ path }) => path === `/${label}`)
    .map(({ headers, body, arrivedAt }) => ({ id: headers["webhook-id"] ?? "", index: Number(JSON.parse(body.toString())), atMs: arrivedAt }));
}

function report(receiver: Receiver, label: string): BurstReport {
  const requests = at(receiver, label);
  const times = requests.map(({ atMs }) => atMs).sort((left, right) => left - right);
  let busiestSecond = 0;
  for (let first = 0, last = 0; last < times.length; last++) {
    while ((times[last] ?? 0) - (times[first] ?? 0) >= 1_000) first++;
    busiestSecond = Math.max(busiestSecond, last - first + 1);
  }
  return {
    label, busiestSecond,
    requests: requests.length,
    messages: new Set(requests.map(({ id }) => id)).size,
    inOrder: [...Map.groupBy(requests, ({ index }) => index % TOPICS).values()].every((ofTopic) =>
      ofTopic.every(({ index }, position) => index === (ofTopic[0]?.index ?? 0) + position * TOPICS),
    ),
    seconds: Math.round(((times.at(-1) ?? 0) - (times[0] ?? 0)) / 1000),
  };
}
