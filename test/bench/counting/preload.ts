/**
 * Loaded before `npm start` by `--import`: the same gateway, in a bundle and with a configuration in which what is
 * billed is counted at the bindings. The gateway's own code stays as it is.
 */
import { registerHooks } from "node:module";

const REPLACED = new Map([
  ["./workerd-config.ts", new URL("counting-config.ts", import.meta.url).href],
  ["./bundle.ts", new URL("counting-bundle.ts", import.meta.url).href],
]);

registerHooks({
  resolve: (specifier, context, next) => {
    const replacement = context.parentURL?.endsWith("/src/local/start.ts") === true ? REPLACED.get(specifier) : undefined;
    return replacement === undefined ? next(specifier, context) : { url: replacement, shortCircuit: true };
  },
});
