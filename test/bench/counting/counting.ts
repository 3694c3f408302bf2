import { fileURLToPath } from "node:url";
import { CRON_PATH, UNITS_PATH, type UnitsAnswer } from "./units.ts";

/** What `npm start` needs in its environment so that what it is billed for is counted. */
export function countingEnvironment(): Record<string, string> {
  return { NODE_OPTIONS: `--import=${encodeURI(fileURLToPath(new URL("preload.ts", import.meta.url)))}` };
}

/** What the gateway used since it started. */
export function readUnits(port: number): Promise<UnitsAnswer> {
  return askGateway(port, UNITS_PATH);
}

/** Has the gateway's cron run as of a time; what the gateway used until its end. */
export function runCron(port: number, atMs: number): Promise<UnitsAnswer> {
  return askGateway(port, `${CRON_PATH}?at=${atMs}`);
}

async function askGateway(port: number, path: string): Promise<UnitsAnswer> {
  const response = await fetch(`http://127.0.0.1:${port}${path}`);
  if (!response.ok) throw new Error(`the counters did not answer: ${response.status} ${await response.text()}`);
  return (await response.json()) as UnitsAnswer;
}
