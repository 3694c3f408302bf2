import { parseArgs } from "node:util";
import { LONG_ROWS, ROWS } from "./rows/index.ts";

export type Options = {
  /** Where the JSON report goes; null: nowhere. */
  readonly json: string | null;
  /** Names of the rows to measure. */
  readonly only: readonly string[];
  readonly runs: number;
  readonly seconds: number;
};

export const USAGE = `npm run bench -- [--only NAME[,NAME]] [--runs N] [--seconds N] [--quick] [--json FILE]
  --only   rows to measure: ${ROWS.map(({ name }) => name).join(", ")} (all of these);
           ${LONG_ROWS.map(({ name }) => name).join(", ")}: takes long, and is measured only when it is named
  --runs   runs of each row, their median is the figure (3)
  --seconds  of load in each run, before a row's own factor (4)
  --quick  one short run of each: to see that it works, not to quote
  --json   writes the report to a file as well`;

const DEFAULT_RUNS = 3;
const SECONDS = 4;
const QUICK_SECONDS = 1.5;

/** Throws an `Error` that says what is wrong with the command line. */
export function parseOptions(args: readonly string[]): Options {
  const { values } = parseArgs({
    args: [...args],
    options: {
      json: { type: "string" },
      only: { type: "string", multiple: true, default: [] },
      runs: { type: "string" },
      seconds: { type: "string" },
      quick: { type: "boolean", default: false },
    },
  });
  const usual = ROWS.map(({ name }) => name);
  const known = [...usual, ...LONG_ROWS.map(({ name }) => name)];
  const only = values.only.flatMap((names) => names.split(","));
  const unknown = only.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`there is no row ${unknown.join(", ")}: the rows are ${known.join(", ")}`);
  const runs = values.runs === undefined ? (values.quick ? 1 : DEFAULT_RUNS) : Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new Error("--runs takes a whole number from 1");
  const seconds = values.seconds === undefined ? (values.quick ? QUICK_SECONDS : SECONDS) : Number(values.seconds);
  if (!(seconds >= 1 && seconds <= 60)) throw new Error("--seconds takes a number from 1 to 60");
  return {
    json: values.json ?? null,
    only: only.length === 0 ? usual : only,
    runs,
    seconds,
  };
}
