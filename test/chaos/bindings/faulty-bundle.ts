import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundleWorker as bundle, type Bundle } from "../../../src/local/bundle.ts";

export const FAULTS_MODULE = "faults.js";
const HERE = dirname(fileURLToPath(import.meta.url));

/** Bundles the gateway with a clock that can be set, and beside it the Worker that stands before D1 and the queue. */
export async function bundleWorker(options: Bundle): Promise<void> {
  if (!options.entry.endsWith("src/index.ts")) return bundle(options);
  await bundle({ ...options, entry: join(HERE, "skewed.worker.ts") });
  await bundle({ entry: join(HERE, "faults.worker.ts"), outfile: join(dirname(options.outfile), FAULTS_MODULE) });
}
