import { batch } from "./batch.ts";
import { latency } from "./latency.ts";
import { pull } from "./pull.ts";
import type { Row } from "./row.ts";
import { sns } from "./sns.ts";
import { streams } from "./streams.ts";
import { fanout10, throughput } from "./throughput.ts";

/** Every row, in the order they are measured and printed. */
export const ROWS: readonly Row[] = [throughput, latency, fanout10, sns, batch, pull, streams];
