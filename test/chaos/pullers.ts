import { answerTo } from "./behaviours.ts";
import { type Arrival, hashOf, type Place } from "./ledgers.ts";
import type { Random } from "./random.ts";
import { ask, pause, type World } from "./world.ts";

/** Consumers that pull, of a queue or an endpoint; `place` is what they pull from. */
export type Puller = {
  /** From now on it acknowledges everything. */
  readonly heal: () => void;
  /** Messages it got and may not have done with, and how often each was received. */
  readonly unsettled: ReadonlyMap<string, number>;
  readonly stop: () => Promise<void>;
};

/** Pulls until stopped: acknowledges, crashes before it does, or gives back. `answers`: what comes are queries. */
export function startPuller(world: World, place: Place, path: string, answers = false): Puller {
  const random = world.random.fork(`puller ${place}`);
  const unsettled = new Map<string, number>();
  let healed = false;
  let stopped = false;

  const once = async (): Promise<void> => {
    const visibility = random.int(2, 4);
    const said = await ask(world, "GET", `${path}/messages?max=${random.int(1, 10)}&wait=1&visibility=${visibility}`);
    if (said === null || said.status >= 400) return pause(world, 200);
    const taken: { receipt: string; arrival: Arrival }[] = said.json.messages.map((message: any) => {
      // A query does not come back once its caller's time is over, whatever became of it here.
      if (!answers) unsettled.set(message.id, message.receiveCount);
      return { receipt: message.receipt, arrival: enterPulled(world, place, message) };
    });
    if (taken.length === 0) return;
    if (answers) await Promise.all(taken.map(({ arrival: { id, hash } }) => reply(world, id, hash ?? "")));
    const act = healed || answers ? "ack" : random.pick(["ack", "ack", "ack", "ack half", "crash", "nack"] as const);
    await settle(world, random, path, act, taken, unsettled);
  };
  const run = async (): Promise<void> => {
    while (!stopped) {
      await world.up;
      await once();
      if (!healed) await pause(world, random.int(0, 300));
    }
  };
  const running = Promise.all([run(), run()]);
  return {
    heal: () => {
      healed = true;
    },
    unsettled,
    stop: async () => {
      stopped = true;
      await running;
    },
  };
}

function enterPulled({ ledgers }: World, place: Place, message: any): Arrival {
  const bytes = typeof message.dataBase64 === "string" ? Buffer.from(message.dataBase64, "base64") : Buffer.from(message.data ?? "");
  const arrival: Arrival = {
    place, label: place, id: message.id, hash: hashOf(bytes), atMs: Date.now(), succeeded: null, answer: `pulled (${message.receiveCount})`,
  };
  ledgers.arrivals.push(arrival);
  return arrival;
}

/** Without an answer it may have arrived all the same; what is too late is told so. */
async function reply(world: World, id: string, hash: string): Promise<void> {
  const said = await ask(world, "POST", `/v1/messages/${id}/reply`, { raw: Buffer.from(answerTo(hash)), headers: { "content-type": "text/plain" } });
  if (said === null || said.status === 202 || said.status === 410 || said.status === 409 || said.status >= 500) return;
  world.ledgers.oddAnswers.push(`reply to ${id}: ${said.status} ${said.text}`);
}

type Act = "ack" | "ack half" | "crash" | "nack";

async function settle(
  world: World,
  random: Random,
  path: string,
  act: Act,
  taken: readonly { readonly receipt: string; readonly arrival: Arrival }[],
  unsettled: Map<string, number>,
): Promise<void> {
  const some = act === "ack half" ? taken.filter((_, index) => index % 2 === 0) : taken;
  for (const { arrival } of taken) arrival.answer += `, ${act}`;
  if (act === "crash") return;
  const receipts = some.map(({ receipt }) => receipt);
  if (act === "nack") {
    await ask(world, "POST", `${path}/nack`, { body: { receipts, delaySeconds: random.int(0, 2) } });
    return;
  }
  const said = await ask(world, "POST", `${path}/ack`, { body: { receipts } });
  if (said?.status !== 200) {
    // It may be done, or come back.
    for (const { arrival } of some) {
      arrival.answer += " unanswered";
      unsettled.delete(arrival.id);
    }
    return;
  }
  said.json.results.forEach(({ ok, error }: any, index: number) => {
    const arrival = some[index]?.arrival;
    if (arrival === undefined) return;
    if (ok !== true) {
      arrival.answer += ` ${error}`;
      return;
    }
    arrival.succeeded = true;
    arrival.answer += " ok";
    unsettled.delete(arrival.id);
  });
}
