import { setTimeout as delay } from "node:timers/promises";
import { createEndpoint, eventually, publish } from "../system/api.ts";
import { startGateway } from "../system/gateway.ts";
import { startReceiver, status } from "../system/receiver.ts";

export type DeadOptions = { readonly minutes: number; readonly perSecond: number; readonly say: (line: string) => void };

export type DeadReport = {
  readonly published: number;
  /** To the endpoint while it answered everything with 503, by quarters of a minute. */
  readonly requestsPerQuarter: readonly number[];
  /** Of what was published, what arrived and was taken after it answered again, in how long and how many requests. */
  readonly recovered: number;
  readonly recoverySeconds: number;
  readonly requestsToRecover: number;
  readonly mostAtOnce: number;
};

const QUARTER_MS = 15_000;
const PATIENCE_MS = 120_000;

/** Publishes evenly to an endpoint that only fails, counts what it is asked, then lets it answer. */
export async function runDead({ minutes, perSecond, say }: DeadOptions): Promise<DeadReport> {
  const receiver = await startReceiver();
  const gateway = await startGateway({ env: { POSTERN_ALLOW_HOSTS: receiver.host } });
  receiver.answerWith(status(503));
  try {
    await createEndpoint(gateway, { url: `${receiver.url}/dead`, topics: ["dead"], retrySchedule: Array(30).fill(60) });
    await delay(1_500); // until every cache knows it
    const startedAtMs = Date.now();
    let published = 0;
    for (; Date.now() - startedAtMs < minutes * 60_000; published++) {
      await publish(gateway, "dead", String(published));
      await delay(Math.max(0, startedAtMs + (published * 1000) / perSecond - Date.now()));
    }
    const failed = receiver.requests.length;
    const quarters = Math.ceil((minutes * 60_000) / QUARTER_MS);
    const requestsPerQuarter = Array.from({ length: quarters }, (_, quarter) =>
      receiver.requests.filter(({ arrivedAt }) => Math.floor((arrivedAt - startedAtMs) / QUARTER_MS) === quarter).length,
    );
    say(`${published} published; requests by quarters of a minute: ${requestsPerQuarter.join(", ")}`);
    let atOnce = 0;
    let mostAtOnce = 0;
    receiver.answerWith(async (_request, response) => {
      mostAtOnce = Math.max(mostAtOnce, ++atOnce);
      await delay(5);
      atOnce--;
      response.writeHead(204).end();
    });
    const taken = () => new Set(receiver.requests.slice(failed).map(({ headers }) => headers["webhook-id"])).size;
    const healedAtMs = Date.now();
    await eventually(async () => taken(), (count) => count >= published, PATIENCE_MS).catch(() => say("not all of it came in time"));
    return {
      published, requestsPerQuarter, mostAtOnce, recovered: taken(),
      recoverySeconds: Math.round((Date.now() - healedAtMs) / 1000),
      requestsToRecover: receiver.requests.length - failed,
    };
  } finally {
    await gateway.dispose();
    await receiver.close();
  }
}
