import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { bundleWorker as bundle, type Bundle } from "../../../src/local/bundle.ts";

const COUNTED_ENTRY = join(dirname(fileURLToPath(import.meta.url)), "counted.worker.ts");

/** Bundles the gateway with the counters around it. */
export function bundleWorker(options: Bundle): Promise<void> {
  return bundle(options.entry.endsWith("src/index.ts") ? { ...options, entry: COUNTED_ENTRY } : options);
}
