/**
 * What `wrangler.toml` says, as the Cap'n Proto configuration of workerd. Every interface to workerd that it marks
 * as experimental is here: the schema is `node_modules/workerd/workerd.capnp`, and what the bundled modules
 * `/workerd/d1.js`, `queues.js` and `cron.js` take is in the comment at the head of each (inside the binary).
 */
import { type CapnpValue, Embedded, renderCapnp } from "./capnp.ts";
import type { Wrangler } from "./wrangler-file.ts";

/** The socket that serves the gateway, by its name on the control descriptor. */
export const GATEWAY_SOCKET = "gateway";

/**
 * Room for what a burst of requests leaves behind before it is collected. V8 lets it grow only with what survives, which
 * here is little, and so collected again and again: an eighth of the gateway's CPU (npm run bench).
 */
const V8_FLAGS = ["--min-semi-space-size=16", "--max-semi-space-size=32"];

const DRAIN_ENTRYPOINT = "Drain";

/** A Worker beside the gateway in the same process, on a socket of its own. */
export type Companion = {
  readonly name: string;
  readonly modulePath: string;
  /** `host:port`, the port 0 for any that is free. */
  readonly listen: string;
  /** Names of environment variables that it sees as bindings. */
  readonly environment: readonly string[];
};

/** A client certificate as a binding; both paths are relative to where the configuration is written. */
export type LocalCertificate = { readonly binding: string; readonly certificatePath: string; readonly keyPath: string };

export type WorkerdOptions = {
  /** The bundled Worker; relative to where the configuration is written. */
  readonly workerPath: string;
  /** Directory of everything durable; absolute, and there before workerd starts. */
  readonly stateDir: string;
  /** `host:port`, the port 0 for any that is free. */
  readonly listen: string;
  /** `host:port` of the socket that lets attempts under way end before the process does; null for none. */
  readonly drainListen: string | null;
  /** Names of environment variables handed to the Worker. Their values never touch the disk. */
  readonly environment: readonly string[];
  /** IP addresses that are not public and may yet be connected to. */
  readonly allowAddresses: readonly string[];
  readonly companions: readonly Companion[];
  readonly certificates?: readonly LocalCertificate[];
  /** PEM of further authorities to trust; relative to where the configuration is written. */
  readonly authorityPath?: string | null;
};

/** The dates decide what the bundled modules see of workerd's API, not what they do. */
const MODULE_COMPATIBILITY_DATE = "2026-11-01";
const NODEJS_COMPAT_BY_DEFAULT_SINCE = "2026-08-04";
const STATE_DISK = "state";
const EXTRA_HANDLERS = "service_binding_extra_handlers";

/** The whole gateway: the Worker with its D1, queues, cron and objects on local disk, and its companions. */
export function workerdConfig(wrangler: Wrangler, options: WorkerdOptions): string {
  return renderConfig(gatewayConfig(wrangler, options));
}

/** What {@link workerdConfig} renders. */
export function gatewayConfig(wrangler: Wrangler, options: WorkerdOptions): CapnpValue {
  const { companions, certificates = [] } = options;
  return {
    v8Flags: V8_FLAGS,
    services: [
      { name: STATE_DISK, disk: { path: options.stateDir, writable: true } },
      network("internet", options),
      ...certificates.map((certificate) => network(certificateService(certificate), options, certificate)),
      { name: wrangler.name, worker: gateway(wrangler, options) },
      ...d1Service(wrangler),
      ...queuesService(wrangler),
      ...cronService(wrangler),
      ...companions.map((companion) => ({ name: companion.name, worker: companionWorker(companion) })),
    ],
    sockets: [
      { name: GATEWAY_SOCKET, address: options.listen, http: {}, service: wrangler.name },
      ...(options.drainListen === null
        ? []
        : [{ name: "drain", address: options.drainListen, http: {}, service: { name: wrangler.name, entrypoint: DRAIN_ENTRYPOINT } }]),
      ...companions.map(({ name, listen }) => ({ name, address: listen, http: {}, service: name })),
    ],
  };
}

/** A Worker with the gateway's databases and nothing else, which applies migrations before anything is served. */
export function migratorConfig(
  wrangler: Wrangler,
  options: { readonly modulePath: string; readonly stateDir: string; readonly listen: string },
): string {
  const worker = {
    modules: [{ name: "migrator.js", esModule: new Embedded(options.modulePath) }],
    compatibilityDate: wrangler.compatibility_date,
    bindings: d1Bindings(wrangler),
  };
  return renderConfig({
    services: [
      { name: STATE_DISK, disk: { path: options.stateDir, writable: true } },
      { name: "migrator", worker },
      ...d1Service(wrangler),
    ],
    sockets: [{ name: "migrator", address: options.listen, http: {}, service: "migrator" }],
  });
}

/** The text of a configuration file. */
export function renderConfig(config: CapnpValue): string {
  return [
    "# Generated by src/local/workerd-config.ts at every start: an edit here is lost.",
    'using Workerd = import "/workerd/workerd.capnp";',
    `const config :Workerd.Config = ${renderCapnp(config)};`,
    "",
  ].join("\n");
}

function gateway(wrangler: Wrangler, options: WorkerdOptions): CapnpValue {
  const given = new Set(options.environment);
  const sqliteClasses = new Set(wrangler.migrations.flatMap((migration) => migration.new_sqlite_classes));
  const classes = [...new Set(wrangler.durable_objects.bindings.map((binding) => binding.class_name))];
  return {
    modules: [{ name: "worker.js", esModule: new Embedded(options.workerPath) }],
    compatibilityDate: wrangler.compatibility_date,
    compatibilityFlags: compatibilityFlags(wrangler),
    bindings: [
      ...Object.entries(wrangler.vars)
        .filter(([name]) => !given.has(name))
        .map(([name, value]) => (typeof value === "string" ? { name, text: value } : { name, json: JSON.stringify(value) })),
      ...options.environment.map((name) => ({ name, fromEnvironment: name })),
      ...d1Bindings(wrangler),
      ...wrangler.durable_objects.bindings.map((binding) => ({
        name: binding.name,
        durableObjectNamespace: binding.class_name,
      })),
      ...wrangler.queues.producers.map((producer) => ({
        name: producer.binding,
        queue: { name: "queues", props: { json: JSON.stringify({ queue: producer.queue }) } },
      })),
      ...(options.certificates ?? []).map((certificate) => ({ name: certificate.binding, service: certificateService(certificate) })),
    ],
    durableObjectNamespaces: classes.map((className) => ({
      className,
      uniqueKey: uniqueKey(wrangler, className),
      enableSql: sqliteClasses.has(className),
    })),
    ...(classes.length === 0 ? {} : { durableObjectStorage: { localDisk: STATE_DISK } }),
  };
}

/** workerd warns of a flag that its date implies; wrangler wants it spelled out. */
function compatibilityFlags(wrangler: Wrangler): readonly string[] {
  const implied = wrangler.compatibility_date >= NODEJS_COMPAT_BY_DEFAULT_SINCE;
  return wrangler.compatibility_flags.filter((flag) => !(implied && flag === "nodejs_compat"));
}

/** The directory of a class's data under the state disk: another key would be an empty store. */
function uniqueKey(wrangler: Wrangler, className: string): string {
  return `${wrangler.name}-${className}`;
}

/**
 * Where `fetch()` goes. The list is checked against the addresses a name resolves to, at each connection, so a name
 * that resolves to a private address is as unreachable as the address itself.
 */
function network(name: string, { allowAddresses, authorityPath = null }: WorkerdOptions, certificate?: LocalCertificate): CapnpValue {
  const allow = ["public", ...new Set(allowAddresses.map((address) => `${address}/${address.includes(":") ? 128 : 32}`))];
  const keypair =
    certificate === undefined
      ? undefined
      : { privateKey: new Embedded(certificate.keyPath), certificateChain: new Embedded(certificate.certificatePath) };
  const trustedCertificates = authorityPath === null ? undefined : [new Embedded(authorityPath)];
  return { name, network: { allow, tlsOptions: { trustBrowserCas: true, trustedCertificates, keypair } } };
}

/** What Cloudflare does for `mtls_certificates`: a network of its own, whose connections present the certificate. */
function certificateService({ binding }: LocalCertificate): string {
  return `certificate-${binding}`;
}

function d1Bindings(wrangler: Wrangler): CapnpValue[] {
  return wrangler.d1_databases.map((database) => ({
    name: database.binding,
    wrapped: {
      moduleName: "cloudflare-internal:d1-api",
      innerBindings: [
        { name: "fetcher", service: { name: "d1", props: { json: JSON.stringify({ database: database.database_name }) } } },
      ],
    },
  }));
}

function d1Service(wrangler: Wrangler): CapnpValue[] {
  if (wrangler.d1_databases.length === 0) return [];
  return [bundledService(wrangler, { name: "d1", className: "D1Database", binding: "DATABASE", extraBindings: [], flags: [] })];
}

function queuesService(wrangler: Wrangler): CapnpValue[] {
  const { producers, consumers } = wrangler.queues;
  if (producers.length + consumers.length === 0) return [];
  const settings = consumers.map((consumer) => [
    consumer.queue,
    {
      consumer: "CONSUMER",
      maxBatchSize: consumer.max_batch_size,
      maxBatchTimeout: consumer.max_batch_timeout,
      maxRetries: consumer.max_retries,
      deadLetterQueue: consumer.dead_letter_queue,
      retryDelay: consumer.retry_delay,
      maxConcurrency: consumer.max_concurrency,
    },
  ]);
  const extraBindings = [
    { name: "CONSUMERS", json: JSON.stringify(Object.fromEntries(settings)) },
    { name: "CONSUMER", service: wrangler.name },
  ];
  return [
    bundledService(wrangler, { name: "queues", className: "QueueShard", binding: "SHARD", extraBindings, flags: [EXTRA_HANDLERS] }),
  ];
}

function cronService(wrangler: Wrangler): CapnpValue[] {
  const { crons } = wrangler.triggers;
  if (crons.length === 0) return [];
  const extraBindings = [
    { name: "CRONS", json: JSON.stringify({ TARGET: crons }) },
    { name: "TARGET", service: wrangler.name },
  ];
  return [
    bundledService(wrangler, { name: "cron", className: "Schedule", binding: "SCHEDULE", extraBindings, flags: [EXTRA_HANDLERS] }),
  ];
}

type BundledService = {
  readonly name: "d1" | "queues" | "cron";
  readonly className: string;
  readonly binding: string;
  readonly extraBindings: readonly CapnpValue[];
  readonly flags: readonly string[];
};

function bundledService(wrangler: Wrangler, service: BundledService): CapnpValue {
  return {
    name: service.name,
    worker: {
      modules: [{ name: `${service.name}.js`, bundled: `/workerd/${service.name}.js` }],
      compatibilityDate: MODULE_COMPATIBILITY_DATE,
      compatibilityFlags: service.flags,
      bindings: [{ name: service.binding, durableObjectNamespace: service.className }, ...service.extraBindings],
      durableObjectNamespaces: [
        { className: service.className, uniqueKey: `${wrangler.name}-${service.name}`, enableSql: true },
      ],
      durableObjectStorage: { localDisk: STATE_DISK },
    },
  };
}

function companionWorker(companion: Companion): CapnpValue {
  return {
    modules: [{ name: `${companion.name}.js`, esModule: new Embedded(companion.modulePath) }],
    compatibilityDate: MODULE_COMPATIBILITY_DATE,
    bindings: companion.environment.map((name) => ({ name, fromEnvironment: name })),
  };
}
