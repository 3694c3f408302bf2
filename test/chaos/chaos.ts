/**
 * `npm run chaos -- --seed 7 --minutes 10`: drives a gateway with everything it offers while breaking whatever can be
 * broken from outside, heals it all, and checks that nothing was lost. The same seed makes the same decisions.
 *
 * The others do one thing each: `--kills 100` kills with -9 within 50 ms of a 2xx, so often; `--neighbours 100000` measures
 * quiet endpoints beside one that hangs with so many messages waiting for it; `--burst 5000` publishes so many at once to
 * endpoints that want 50 a second; `--dead 2` counts for so many minutes what an endpoint is asked that only fails.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { runBurst } from "./burst.ts";
import { runDead } from "./dead.ts";
import { runKills } from "./kills.ts";
import { quantileOf, runNeighbours } from "./neighbours.ts";
import { runChaos } from "./run.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    minutes: { type: "string", default: "1" },
    kills: { type: "string" },
    neighbours: { type: "string" },
    burst: { type: "string" },
    dead: { type: "string" },
    /** A file for what the gateway wrote. */
    logs: { type: "string" },
  },
});

function numberOf(name: "minutes" | "kills" | "neighbours" | "burst" | "dead"): number {
  const number = Number(values[name]);
  if (!(number > 0)) throw new Error(`--${name} is "${values[name]}": it must be a number above 0`);
  return number;
}

const SHOWN = 10;
const BURST_PER_SECOND = 50;
const DEAD_PER_SECOND = 10;
/** Enough for a p99: fifteen hundred messages each time. */
const QUIET = { quietEndpoints: 50, rounds: 30, timeoutSeconds: 30 };

async function chaos(): Promise<boolean> {
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
  const durationMs = Math.round(numberOf("minutes") * 60_000);
  const { checks, counts, logs } = await runChaos({ seed: values.seed, durationMs, say: console.info, signal: interrupted.signal });
  if (values.logs !== undefined) writeFileSync(values.logs, logs);
  console.info(Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", "));
  for (const { name, counts: counted, violations } of checks) {
    console.info(`${violations.length === 0 ? "ok  " : "FAIL"} ${name}: ${counted}`);
    for (const violation of violations.slice(0, SHOWN)) console.info(`     ${violation.replaceAll("\n", "\n     ")}`);
    if (violations.length > SHOWN) console.info(`     and ${violations.length - SHOWN} more`);
  }
  const violated = checks.filter(({ violations }) => violations.length > 0);
  console.info(violated.length === 0 ? `seed ${values.seed}: no violation` : `seed ${values.seed}: ${violated.length} checks violated`);
  return violated.length === 0;
}

async function kills(): Promise<boolean> {
  const { acknowledged, delivered, lost } = await runKills({ seed: values.seed, rounds: numberOf("kills"), say: console.info });
  console.info(`seed ${values.seed}: ${delivered} of ${acknowledged} delivered${lost.length === 0 ? "" : `, lost: ${lost.join(", ")}`}`);
  return lost.length === 0;
}

async function neighbours(): Promise<boolean> {
  const report = await runNeighbours({ ...QUIET, backlog: numberOf("neighbours"), say: console.info });
  const { alone, beside, quietSent, quietArrivals, drained, requestsToDrain, mostAtOnce } = report;
  console.info(`p99 beside it: ${(quantileOf(beside, 0.99) / quantileOf(alone, 0.99)).toFixed(2)} × alone`);
  console.info(`quiet: ${quietArrivals} arrivals of ${quietSent}; the backlog: ${drained} in ${requestsToDrain} requests, at most ${mostAtOnce} at once`);
  return quietArrivals === quietSent;
}

async function burst(): Promise<boolean> {
  const messages = numberOf("burst");
  const reports = await runBurst({ messages, perSecond: BURST_PER_SECOND, say: console.info });
  for (const { label, requests, messages: came, busiestSecond, inOrder, seconds } of reports) {
    console.info(`${label}: ${came} of ${messages} in ${requests} requests and ${seconds} s, at most ${busiestSecond} in a second, ${inOrder ? "" : "not "}in order`);
  }
  return reports.every((one) => one.messages === messages && one.busiestSecond <= BURST_PER_SECOND && (one.inOrder || one.label === "limited"));
}

async function dead(): Promise<boolean> {
  const report = await runDead({ minutes: numberOf("dead"), perSecond: DEAD_PER_SECOND, say: console.info });
  const { published, recovered, recoverySeconds, requestsToRecover, mostAtOnce } = report;
  console.info(`recovered ${recovered} of ${published} in ${recoverySeconds} s and ${requestsToRecover} requests, at most ${mostAtOnce} at once`);
  return recovered === published;
}

const MODES = { kills, neighbours, burst, dead } as const;
const [, run = chaos] = Object.entries(MODES).find(([name]) => name in values) ?? [];
process.exitCode = (await run()) ? 0 : 1;
