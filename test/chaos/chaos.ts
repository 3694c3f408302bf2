/**
 * `npm run chaos -- --seed 7 --minutes 10`: drives a gateway with everything it offers while breaking whatever can be
 * broken from outside, heals it all, and checks that nothing was lost. The same seed makes the same decisions.
 *
 * `--kills 100` does one thing only: it kills with -9 within 50 ms of a 2xx, so often. `--neighbours 100000` measures
 * quiet endpoints beside one that hangs with so many messages waiting for it.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { runKills } from "./kills.ts";
import { runNeighbours } from "./neighbours.ts";
import { runChaos } from "./run.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    minutes: { type: "string", default: "1" },
    kills: { type: "string" },
    neighbours: { type: "string" },
    /** A file for what the gateway wrote. */
    logs: { type: "string" },
  },
});

function numberOf(name: "minutes" | "kills" | "neighbours"): number {
  const number = Number(values[name]);
  if (!(number > 0)) throw new Error(`--${name} is "${values[name]}": it must be a number above 0`);
  return number;
}

const SHOWN = 10;
/** Enough for a p99: five hundred messages each time. */
const QUIET = { quietEndpoints: 50, rounds: 10, timeoutSeconds: 30 };

async function chaos(): Promise<boolean> {
  const interrupted = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());
  const durationMs = numberOf("minutes") * 60_000;
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
  const { quietSent, quietArrivals, drained, requestsToDrain, mostAtOnce } = report;
  console.info(`quiet: ${quietArrivals} arrivals of ${quietSent}; the backlog: ${drained} in ${requestsToDrain} requests, at most ${mostAtOnce} at once`);
  return quietArrivals === quietSent;
}

const run = values.kills !== undefined ? kills : values.neighbours !== undefined ? neighbours : chaos;
process.exitCode = (await run()) ? 0 : 1;
