/**
 * Loaded before `npm start` by `--import`: gives it a configuration in which D1 and the queue are reached through a
 * Worker of the test, and a bundle whose clock can be set. The gateway's own code stays as it is.
 */
import { registerHooks } from "node:module";

const REPLACED = new Map([
  ["./workerd-config.ts", new URL("faulty-config.ts", import.meta.url).href],
  ["./bundle.ts", new URL("faulty-bundle.ts", import.meta.url).href],
]);

registerHooks({
  resolve: (specifier, context, next) => {
    const replacement = context.parentURL?.endsWith("/src/local/start.ts") === true ? REPLACED.get(specifier) : undefined;
    return replacement === undefined ? next(specifier, context) : { url: replacement, shortCircuit: true };
  },
});
