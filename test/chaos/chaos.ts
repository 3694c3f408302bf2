/**
 * `npm run chaos -- --seed 7 --minutes 10`: drives a gateway with everything it offers while breaking whatever can be
 * broken from outside, heals it all, and checks that nothing was lost. The same seed makes the same decisions.
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { runChaos } from "./run.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string", default: String(Date.now() % 1_000_000) },
    minutes: { type: "string", default: "1" },
    /** A file for what the gateway wrote. */
    logs: { type: "string" },
  },
});
const minutes = Number(values.minutes);
if (!(minutes > 0)) throw new Error(`--minutes is "${values.minutes}": it must be a number above 0`);

const interrupted = new AbortController();
for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => interrupted.abort());

const SHOWN = 10;
const { checks, counts, logs } = await runChaos({ seed: values.seed, durationMs: minutes * 60_000, say: console.info, signal: interrupted.signal });
if (values.logs !== undefined) writeFileSync(values.logs, logs);
console.info(Object.entries(counts).map(([name, count]) => `${name} ${count}`).join(", "));
for (const { name, counts: counted, violations } of checks) {
  console.info(`${violations.length === 0 ? "ok  " : "FAIL"} ${name}: ${counted}`);
  for (const violation of violations.slice(0, SHOWN)) console.info(`     ${violation.replaceAll("\n", "\n     ")}`);
  if (violations.length > SHOWN) console.info(`     and ${violations.length - SHOWN} more`);
}
const violated = checks.filter(({ violations }) => violations.length > 0);
console.info(violated.length === 0 ? `seed ${values.seed}: no violation` : `seed ${values.seed}: ${violated.length} checks violated`);
process.exitCode = violated.length === 0 ? 0 : 1;
