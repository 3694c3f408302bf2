/**
 * `npm run bench`: the gateway, as `npm start` runs it, next to a bare relay in the same runtime on the same machine,
 * to the same receiver, under the same load. README.md beside this file says how to read the figures.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startSnsSimulator } from "../../src/local/sns-simulator/index.ts";
import type { Bench } from "./fixture.ts";
import { measureCeiling } from "./ceiling.ts";
import { type Gateway, startGateway } from "./gateway.ts";
import { startGenerator } from "./load/generator.ts";
import { startReceiver } from "./load/receiver.ts";
import { describeMachine, watchOthers } from "./machine.ts";
import { Ledger } from "./ledger.ts";
import { type Options, parseOptions, USAGE } from "./options.ts";
import { atExit } from "./processes.ts";
import { startRelay } from "./relay/start.ts";
import { figuresOf, renderFoot, renderHead, renderRow, type Report } from "./report.ts";
import { LONG_ROWS, ROWS } from "./rows/index.ts";
import type { RowReport } from "./rows/row.ts";

type Stop = () => Promise<void>;

async function main(): Promise<void> {
  const options = readOptions();
  const directory = mkdtempSync(join(tmpdir(), "postern-bench-"));
  atExit(() => rmSync(directory, { recursive: true, force: true }));
  const stops: Stop[] = [];
  try {
    const report = await measureAll(options, await start(options, directory, stops));
    console.info(renderFoot(report));
    if (options.json !== null) writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
  } finally {
    for (const stop of stops.toReversed()) await stop();
  }
}

async function start(options: Options, directory: string, stops: Stop[]): Promise<Bench> {
  const started = <Part extends { stop: Stop }>(part: Part): Part => {
    stops.push(() => part.stop());
    return part;
  };
  const receiver = started(await startReceiver());
  const generator = started(await startGenerator());
  const sns = await startSnsSimulator();
  stops.push(() => sns.close());
  const relayDirectory = join(directory, "relay");
  mkdirSync(relayDirectory);
  const relay = started(await startRelay(relayDirectory));
  const setting = { directory, receiverPort: receiver.port, snsEndpoint: sns.url };
  const startAnother = (name: string, env?: Readonly<Record<string, string>>): Promise<Gateway> =>
    startGateway({ ...setting, name, ...(env === undefined ? {} : { env }) });
  const gateway = started(await startAnother("gateway"));
  return { startAnother, relay, gateway, receiver, generator, sns, ledger: new Ledger(), runs: options.runs, seconds: options.seconds };
}

async function measureAll(options: Options, bench: Bench): Promise<Report> {
  const othersShare = watchOthers();
  const ceiling = await measureCeiling(bench.generator, bench.receiver);
  const conditions = { machine: describeMachine(), runs: options.runs, secondsPerRun: options.seconds, ceiling };
  console.info(renderHead(conditions));
  const rows: RowReport[] = [];
  for (const row of [...ROWS, ...LONG_ROWS].filter(({ name }) => options.only.includes(name))) {
    const measured = await row.measure(bench);
    console.info(renderRow(measured));
    rows.push(measured);
  }
  const balance = await bench.ledger.balance(bench.receiver, "gateway");
  return {
    date: new Date().toISOString(),
    ...conditions,
    otherProgramsShare: othersShare(),
    rows,
    figures: figuresOf(rows, balance),
  };
}

function readOptions(): Options {
  try {
    return parseOptions(process.argv.slice(2));
  } catch (error) {
    console.error(`${error instanceof Error ? error.message : String(error)}\n\n${USAGE}`);
    process.exit(2);
  }
}

await main();
