import { batch } from "./batch.ts";
import { cost } from "./cost.ts";
import { growth, retries, subscriptions } from "./growth.ts";
import { latency } from "./latency.ts";
import { load } from "./load.ts";
import { overload } from "./overload.ts";
import { pull } from "./pull.ts";
import type { Row } from "./row.ts";
import { sns } from "./sns.ts";
import { streams } from "./streams.ts";
import { fanout10, throughput } from "./throughput.ts";

/** The rows that are measured when none is named, in the order they are measured and printed. */
export const ROWS: readonly Row[] = [throughput, latency, fanout10, sns, batch, pull, streams, load, cost, subscriptions, retries, overload];

/** Measured only when they are asked for by name: they take minutes each. */
export const LONG_ROWS: readonly Row[] = [growth];
