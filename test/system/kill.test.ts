import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { runKills } from "../chaos/kills.ts";
import { call, createEndpoint } from "./api.ts";
import { startGateway } from "./gateway.ts";
import { status, startReceiver } from "./receiver.ts";

const ROUNDS = 4;
const KILLS_AFTER_A_2XX = 4;
const PUBLISHERS = 8;

/** Publishes until the gateway is gone; what got a 2xx is what was promised. */
async function publishUntilGone(gateway: { url: string; token: string }, round: number, publisher: number, promised: Set<string>): Promise<number> {
  for (let count = 0; ; count++) {
    try {
      const answer = await call(gateway, "POST", `/v1/events/kill.${publisher % 3}`, {
        raw: `round ${round} publisher ${publisher} message ${count}`,
        headers: { "content-type": "text/plain" },
      });
      if (answer.status === 202) promised.add(answer.json.id);
    } catch {
      return count; // the connection broke: no answer, no promise
    }
  }
}

it(
  "loses no message that got a 2xx, killed with -9 at random moments while the subscriber fails, then healed",
  async () => {
    const receiver = await startReceiver();
    let gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
    try {
      await createEndpoint(gateway, { url: `${receiver.url}/a`, topics: ["kill.*"], retrySchedule: Array(30).fill(1) });
      await createEndpoint(gateway, { url: `${receiver.url}/b`, topics: ["kill.0"], retrySchedule: Array(30).fill(1) });
      const promised = new Set<string>();
      for (let round = 0; round < ROUNDS; round++) {
        // It fails, it hangs up, or it answers, so that every stage of a delivery is under way at the kill.
        let count = 0;
        receiver.answerWith((request, response) => {
          if (++count % 3 === 0) response.destroy();
          else void status(count % 3 === 1 ? 500 : 204)(request, response);
        });
        const publishers = Array.from({ length: PUBLISHERS }, (_, publisher) => publishUntilGone(gateway, round, publisher, promised));
        await delay(300 + Math.random() * 1_200);
        await gateway.kill9();
        await Promise.all(publishers);
        gateway = await gateway.restart();
      }
      receiver.answerWith(status(204));
      const arrivedAt = (path: string) => new Set(receiver.requests.filter((request) => request.path === path).map(({ headers }) => headers["webhook-id"]));
      await receiver.until(() => {
        const arrived = arrivedAt("/a");
        return [...promised].every((id) => arrived.has(id));
      }, 60_000);
      expect(promised.size).toBeGreaterThan(100);
      const streams = await call(gateway, "GET", "/v1/messages?topic=kill.0&limit=250");
      const published = new Set(receiver.requests.filter(({ path, headers }) => path === "/a" && headers["postern-topic"] === "kill.0").map(({ headers }) => headers["webhook-id"]));
      expect(streams.json.data.length).toBeGreaterThan(0);
      await receiver.until(() => [...published].every((id) => arrivedAt("/b").has(id)), 60_000);
    } finally {
      await gateway.dispose();
      await receiver.close();
    }
  },
  240_000,
);

// `npm run chaos -- --kills 100` is the same on a larger scale.
it("delivers what got a 2xx when it is killed with -9 within 50 ms of it", async () => {
  const { acknowledged, delivered, lost } = await runKills({ seed: String(Date.now()), rounds: KILLS_AFTER_A_2XX, say: () => undefined });
  expect(lost).toEqual([]);
  expect([acknowledged, delivered]).toEqual([2 * KILLS_AFTER_A_2XX, 2 * KILLS_AFTER_A_2XX]);
}, 180_000);
