import { parseArgs } from "node:util";
import { ROWS } from "./rows/index.ts";

export type Options = {
  /** Where the JSON report goes; null: nowhere. */
  readonly json: string | null;
  /** Names of the rows to measure. */
  readonly only: readonly string[];
  readonly runs: number;
  readonly seconds: number;
};

export const USAGE = `npm run bench -- [--only NAME[,NAME]] [--runs N] [--quick] [--json FILE]
  --only   rows to measure: ${ROWS.map(({ name }) => name).join(", ")} (all)
  --runs   runs of each row, their median is the figure (3)
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
      quick: { type: "boolean", default: false },
    },
  });
  const known = ROWS.map(({ name }) => name);
  const only = values.only.flatMap((names) => names.split(","));
  const unknown = only.filter((name) => !known.includes(name));
  if (unknown.length > 0) throw new Error(`there is no row ${unknown.join(", ")}: the rows are ${known.join(", ")}`);
  const runs = values.runs === undefined ? (values.quick ? 1 : DEFAULT_RUNS) : Number(values.runs);
  if (!Number.isInteger(runs) || runs < 1) throw new Error("--runs takes a whole number from 1");
  return {
    json: values.json ?? null,
    only: only.length === 0 ? known : only,
    runs,
    seconds: values.quick ? QUICK_SECONDS : SECONDS,
  };
}
