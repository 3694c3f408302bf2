import { type Config, parseConfig } from "./config.ts";
import { createKeyRing, type KeyRing } from "./crypto/keyring.ts";
import { AttemptSlots } from "./delivery/attempt-slots.ts";
import type { AttemptWorld } from "./delivery/attempt.ts";
import { clientCertificates } from "./delivery/client-certificates.ts";
import { createDnsGuard } from "./delivery/dns-guard.ts";
import { RecentDirectory } from "./delivery/directory.ts";
import { fillFromPool } from "./random-pool.ts";
import { RouteTable } from "./messages/route-table.ts";
import { SharedAppends } from "./streams/shared-appends.ts";

/** What one isolate keeps between requests: nothing here is a source of truth, all of it can vanish at any time. */
export type Isolate = {
  readonly config: Config;
  readonly keyRing: KeyRing;
  readonly routes: RouteTable;
  readonly directory: RecentDirectory;
  readonly sharedAppends: SharedAppends;
  readonly slots: AttemptSlots;
  readonly world: AttemptWorld;
};

let isolate: Isolate | undefined;

/** Parses the environment on first use; throws an `Error` that names what is missing in it. */
export function isolateOf(env: Cloudflare.Env): Isolate {
  isolate ??= createIsolate(parseConfig(env), env);
  return isolate;
}

function createIsolate(config: Config, env: Cloudflare.Env): Isolate {
  return {
    config,
    keyRing: createKeyRing(config.encryptionKeys),
    routes: new RouteTable(),
    directory: new RecentDirectory(),
    sharedAppends: new SharedAppends(() => Date.now()),
    slots: new AttemptSlots(() => Date.now()),
    world: {
      // Called through a closure: `fetch` must not lose its receiver, and tests may replace the global one.
      fetch: (input, init) => fetch(input, init),
      now: () => Date.now(),
      random: () => Math.random(),
      fillRandom: fillFromPool,
      userAgent: `Postern/${config.version}`,
      allowHosts: config.allowHosts,
      allowHttp: config.allowHttp,
      certificates: config.certificates.length === 0 ? undefined : clientCertificates(config.certificates, env),
      dns: config.dohUrl === null ? undefined : createDnsGuard(config.dohUrl, { fetch: (url, init) => fetch(url, init), now: () => Date.now() }),
    },
  };
}
