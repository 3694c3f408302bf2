import { setTimeout as delay } from "node:timers/promises";
import { createEndpoint, publish } from "../system/api.ts";
import { startGateway } from "../system/gateway.ts";
import { startReceiver } from "../system/receiver.ts";
import { randomOf } from "./random.ts";

export type KillsOptions = { readonly seed: string; readonly rounds: number; readonly say: (line: string) => void };

export type KillsReport = {
  /** Messages that got a 2xx; each round has one on a topic of its own, and one on a topic that all share. */
  readonly acknowledged: number;
  readonly delivered: number;
  /** Of those not delivered, the rounds. */
  readonly lost: readonly string[];
  /** From the start after the kill to the arrival, ms; 0 where it arrived before the kill. */
  readonly waitsMs: readonly number[];
};

/** A kill comes this long after the 2xx at most. */
const LONGEST_MS = 50;
/** What is not there by then after a start counts as lost. */
const PATIENCE_MS = 30_000;

/** Publishes, kills with -9 within 50 ms of the 2xx, starts again and waits for the message; round after round. */
export async function runKills({ seed, rounds, say }: KillsOptions): Promise<KillsReport> {
  const random = randomOf(seed);
  const receiver = await startReceiver();
  let gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  const lost: string[] = [];
  const waitsMs: number[] = [];
  let acknowledged = 0;
  try {
    await createEndpoint(gateway, { url: `${receiver.url}/kills`, topics: ["kills.**"], retrySchedule: Array(30).fill(1) });
    await delay(1_500); // until every cache knows it
    for (let round = 0; round < rounds; round++) {
      const texts = [`own ${round}`, `shared ${round}`];
      await Promise.all([publish(gateway, `kills.own.t${round}`, texts[0] ?? ""), publish(gateway, "kills.shared", texts[1] ?? "")]);
      acknowledged += texts.length;
      await delay(random.int(0, LONGEST_MS));
      await gateway.kill9();
      const arrived = new Set(receiver.requests.map(({ body }) => body.toString()));
      gateway = await gateway.restart();
      const startedAtMs = Date.now();
      for (const text of texts) {
        const came = await receiver.until((requests) => requests.some(({ body }) => body.toString() === text), PATIENCE_MS).then(() => true, () => false);
        if (!came) lost.push(text);
        else waitsMs.push(arrived.has(text) ? 0 : Date.now() - startedAtMs);
      }
      if ((round + 1) % 10 === 0) say(`${round + 1} kills: ${acknowledged - lost.length} of ${acknowledged} delivered, the longest after ${Math.max(...waitsMs)} ms`);
    }
    return { acknowledged, delivered: acknowledged - lost.length, lost, waitsMs };
  } finally {
    await gateway.dispose();
    await receiver.close();
  }
}
