import { createRequire } from "node:module";

/** The npm package as CommonJS has it: importing it gives one object or another, depending on who compiles the import. */
const workerd: { readonly default: string; readonly version: string } = createRequire(import.meta.url)("workerd");

/** The binary for this machine. */
export const WORKERD_PATH = workerd.default;
export const WORKERD_VERSION = workerd.version;
