/**
 * `npm start`: the whole gateway on one machine. It builds, migrates, starts workerd with everything around it, shows
 * that a message arrives, and keeps it running. It can be killed at any moment and started again.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { addressesOf, freePort, hostAndPort, portIsFree } from "./addresses.ts";
import { bundleWorker } from "./bundle.ts";
import { certificatesIn } from "./certificates.ts";
import { type DataDir, claimDataDir, readPorts, writePorts } from "./data-dir.ts";
import { runDemo } from "./demo.ts";
import { type Emulators, startEmulators } from "./emulators.ts";
import { migrate } from "./migrate.ts";
import { type Settings, readSettings } from "./settings.ts";
import { tryThis } from "./try-this.ts";
import { type WorkerEnvironment, workerEnvironment } from "./worker-environment.ts";
import { WORKERD_VERSION } from "./workerd-binary.ts";
import { workerdConfig } from "./workerd-config.ts";
import { type RunningWorkerd, superviseWorkerd } from "./workerd-process.ts";
import { type Wrangler, parseWrangler } from "./wrangler-file.ts";

const ROOT = join(dirname(fileURLToPath(import.meta.url)), "../..");
const LOOPBACK = "127.0.0.1";
const SUBSCRIBER = "subscriber";
const PARENT_POLL_MS = 200;
/** Beyond what the gateway itself waits for its attempts. */
const DRAIN_DEADLINE_MS = 12_000;

/** Everything that is decided before workerd starts. */
type Plan = {
  readonly settings: Settings;
  readonly wrangler: Wrangler;
  readonly dataDir: DataDir;
  readonly port: number;
  /** Where the gateway is reached from this machine. */
  readonly gatewayUrl: string;
  /** Null without the demo. */
  readonly subscriberPort: number | null;
};

async function main(): Promise<void> {
  const plan = await makePlan();
  const { settings, wrangler, dataDir } = plan;
  say(`Postern on workerd ${WORKERD_VERSION}, data in ${relative(process.cwd(), dataDir.path) || "."}`);

  const [emulators] = await Promise.all([startEmulators(settings, dataDir), build(plan)]);
  const applied = await migrate(ROOT, wrangler, dataDir);
  say(`Migrations: ${applied.length === 0 ? "none to apply" : `applied ${applied.join(", ")}`}`);

  const environment = workerEnvironment(settings, dataDir, emulators, plan.subscriberPort, plan.gatewayUrl);
  // only now: what has started meanwhile may have taken any port that was free before
  const drainPort = await freePort(LOOPBACK, 0);
  const gateway = await startGateway(plan, drainPort, environment, emulators);
  stopInTime(() => drain(drainPort, environment.token), gateway, emulators);
  writePorts(dataDir, {
    subscriber: plan.subscriberPort ?? 0,
    sqs: emulators.sqs?.port ?? 0,
    sns: emulators.sns?.port ?? 0,
  });
  if (plan.subscriberPort !== null) await showDemo(plan.gatewayUrl, plan.subscriberPort, environment, emulators);
  say(tryThis({ gatewayUrl: plan.gatewayUrl, subscriberPort: plan.subscriberPort, environment, emulators, settings }));
  say(`ready ${plan.gatewayUrl}`);
}

async function makePlan(): Promise<Plan> {
  const settings = readSettings(process.env, process.cwd());
  const wrangler = parseWrangler(readFileSync(join(ROOT, "wrangler.toml"), "utf8"));
  const dataDir = await claimDataDir(settings.dataDir);
  if (settings.port !== 0 && !(await portIsFree(settings.host, settings.port))) {
    throw new Error(`port ${settings.port} is in use: set PORT to another, or to 0 for any that is free`);
  }
  const port = settings.port === 0 ? await freePort(settings.host, 0) : settings.port;
  const localHost = ["0.0.0.0", "::"].includes(settings.host) ? LOOPBACK : settings.host;
  return {
    settings,
    wrangler,
    dataDir,
    port,
    gatewayUrl: `http://${hostAndPort(localHost, port)}`,
    subscriberPort: settings.demo ? await freePort(LOOPBACK, readPorts(dataDir)[SUBSCRIBER] ?? 0) : null,
  };
}

async function build({ wrangler, dataDir }: Plan): Promise<void> {
  await Promise.all([
    bundleWorker({ entry: join(ROOT, wrangler.main), outfile: join(dataDir.build, "worker.js"), alias: wrangler.alias }),
    bundleWorker({ entry: join(ROOT, "src/subscriber/index.ts"), outfile: join(dataDir.build, "subscriber.js") }),
  ]);
}

async function startGateway(plan: Plan, drainPort: number, environment: WorkerEnvironment, emulators: Emulators): Promise<RunningWorkerd> {
  const { settings, wrangler, dataDir, subscriberPort } = plan;
  const privateHosts = [environment.worker["POSTERN_SQS_ENDPOINT"], environment.worker["POSTERN_SNS_ENDPOINT"]]
    .filter((endpoint) => endpoint !== undefined)
    .concat(environment.allowHosts);
  const config = workerdConfig(wrangler, {
    workerPath: "worker.js",
    stateDir: dataDir.state,
    listen: hostAndPort(settings.host, plan.port),
    drainListen: hostAndPort(LOOPBACK, drainPort),
    environment: Object.keys(environment.worker),
    allowAddresses: await addressesOf(privateHosts),
    certificates: certificatesIn(settings.certificateDirectory, dataDir.workerdConfig),
    authorityPath: settings.authorityFile === null ? null : relative(dirname(dataDir.workerdConfig), settings.authorityFile),
    companions:
      subscriberPort === null
        ? []
        : [{ name: SUBSCRIBER, modulePath: "subscriber.js", listen: hostAndPort(LOOPBACK, subscriberPort), environment: Object.keys(environment.subscriber) }],
  });
  writeFileSync(dataDir.workerdConfig, config, { mode: 0o600 });
  const command = {
    configPath: dataDir.workerdConfig,
    pidPath: dataDir.workerdPid,
    environment: { ...process.env, ...environment.worker, ...environment.subscriber },
    aliveUrl: `${plan.gatewayUrl}/healthz`,
  };
  try {
    return await superviseWorkerd(command, say);
  } catch (error) {
    await emulators.close();
    throw error;
  }
}

/** Lets the attempts under way end; without an answer they are made again after the next start. */
async function drain(port: number, token: string): Promise<void> {
  try {
    const headers = { authorization: `Bearer ${token}` };
    const response = await fetch(`http://${hostAndPort(LOOPBACK, port)}/`, { headers, signal: AbortSignal.timeout(DRAIN_DEADLINE_MS) });
    await response.body?.cancel();
  } catch (error) {
    say(`Attempts under way are cut off: ${error instanceof Error ? error.message : String(error)}`);
  }
}

/**
 * The first signal stops everything in order; what does not stop in time is killed, and nothing is lost by it. npm may
 * be killed without a word to us: then everything ends at once, for whoever kills starts it again the next moment.
 */
function stopInTime(drained: () => Promise<void>, gateway: RunningWorkerd, emulators: Emulators): void {
  let stopping = false;
  const stop = (): void => {
    if (stopping) return;
    stopping = true;
    drained()
      .then(() => gateway.stop())
      .then(() => emulators.close())
      .then(() => process.exit(0), fail);
  };
  process.on("SIGINT", stop);
  process.on("SIGTERM", stop);
  const npm = process.ppid;
  if (process.env["npm_lifecycle_event"] !== undefined) {
    setInterval(() => {
      if (process.ppid !== npm) process.exit(1); // and with us workerd
    }, PARENT_POLL_MS);
  }
}

async function showDemo(gatewayUrl: string, subscriberPort: number, environment: WorkerEnvironment, emulators: Emulators): Promise<void> {
  try {
    const line = await runDemo({
      gatewayUrl,
      token: environment.token,
      subscriberUrl: `http://${hostAndPort(LOOPBACK, subscriberPort)}`,
      subscriberSecret: environment.subscriberSecret,
      snsUrl: emulators.sns?.url ?? null,
    });
    say(`Demo: ${line}`);
  } catch (error) {
    say(`Demo: it failed, and the gateway serves all the same: ${error instanceof Error ? error.message : String(error)}`);
  }
}

function say(line: string): void {
  console.info(line);
}

function fail(error: unknown): never {
  console.error(`postern: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

main().catch(fail);
