import { type BuildAppOptions, buildApp } from "fauxqs";
import { DatabaseSync } from "node:sqlite";
import { freePort, hostAndPort } from "./addresses.ts";
import { type DataDir, readPorts } from "./data-dir.ts";
import type { Settings } from "./settings.ts";
import { startSnsSimulator } from "./sns-simulator/index.ts";

export type Emulator = {
  readonly url: string;
  readonly port: number;
  readonly close: () => Promise<void>;
};

/** Null where the gateway was pointed at another. */
export type Emulators = {
  readonly sqs: Emulator | null;
  readonly sns: (Emulator & { readonly arnOf: (topicName: string) => string }) | null;
  readonly close: () => Promise<void>;
};

const LOOPBACK = "127.0.0.1";

/** Starts what the gateway was given no address for, on the ports they had the last time if those are free. */
export async function startEmulators(settings: Settings, dataDir: DataDir): Promise<Emulators> {
  const ports = readPorts(dataDir);
  const [sqs, sns] = await Promise.all([
    settings.sqsEndpoint === null ? startSqsEmulator(dataDir, ports["sqs"] ?? 0) : null,
    settings.snsEndpoint === null ? startSns(ports["sns"] ?? 0) : null,
  ]);
  return {
    sqs,
    sns,
    close: async () => {
      await Promise.all([sqs?.close(), sns?.close()]);
    },
  };
}

async function startSns(preferredPort: number): Promise<NonNullable<Emulators["sns"]>> {
  const port = await freePort(LOOPBACK, preferredPort);
  const simulator = await startSnsSimulator({ host: LOOPBACK, port });
  return {
    url: simulator.url,
    port,
    arnOf: (topicName) => `arn:aws:sns:${simulator.region}:${simulator.accountId}:${topicName}`,
    close: () => simulator.close(),
  };
}

/** Amazon SQS on loopback, its queues and messages kept in the data directory at every change. */
async function startSqsEmulator(dataDir: DataDir, preferredPort: number): Promise<Emulator> {
  const port = await freePort(LOOPBACK, preferredPort);
  const app = buildApp({ logger: false, host: LOOPBACK, stores: await persistentStores(dataDir.sqs) });
  await app.listen({ host: LOOPBACK, port });
  return { url: `http://${hostAndPort(LOOPBACK, port)}`, port, close: () => app.close() };
}

type Stores = NonNullable<BuildAppOptions["stores"]>;
type Persistence = NonNullable<Stores["sqsStore"]["persistence"]>;
type StoreModules = {
  readonly SqsStore: new () => Stores["sqsStore"];
  readonly SnsStore: new () => Stores["snsStore"];
  readonly S3Store: new () => Stores["s3Store"];
  readonly PersistenceManager: new (directory: string) => Persistence & {
    loadSqsAndSns(sqs: Stores["sqsStore"], sns: Stores["snsStore"]): void;
  };
};

/**
 * What fauxqs's `startFauxqs({dataDir})` does, which listens on every interface and cannot be told otherwise. Its
 * parts are not exported, so they are imported by file: the version is pinned, and a start that finds them moved fails.
 */
async function persistentStores(directory: string): Promise<Stores> {
  const part = (path: string): Promise<StoreModules> => import(new URL(path, import.meta.resolve("fauxqs")).href);
  const { SqsStore } = await part("./sqs/sqsStore.js");
  const { SnsStore } = await part("./sns/snsStore.js");
  const { S3Store } = await part("./s3/s3Store.js");
  const { PersistenceManager } = await part("./persistence.js");

  const stores = { sqsStore: new SqsStore(), snsStore: new SnsStore(), s3Store: new S3Store() };
  const persistence = new PersistenceManager(directory);
  writeWithoutFlushing(persistence);
  // Loaded before it is attached, or loading would write every row again.
  persistence.loadSqsAndSns(stores.sqsStore, stores.snsStore);
  mendGivingBack(persistence);
  stores.sqsStore.persistence = persistence;
  for (const queue of stores.sqsStore.allQueues()) queue.persistence = persistence;
  return stores;
}

/**
 * Each change of each message is a commit of its own, and the emulator waits for the disk at every one: seconds, where
 * others use the disk as well. What SQLite has written to its log outlives a kill also when it is not flushed.
 */
function writeWithoutFlushing(persistence: Persistence): void {
  const database: unknown = Reflect.get(persistence, "db");
  if (!(database instanceof DatabaseSync)) throw new Error("fauxqs keeps its database elsewhere: src/local/emulators.ts is to be mended");
  database.exec("PRAGMA synchronous = NORMAL");
}

/**
 * fauxqs 2.4.1 writes null as the receive count of a message whose visibility timeout is set to 0, which its own schema
 * forbids: the call fails, and the message is gone until the next start. Here it keeps its count.
 */
function mendGivingBack(persistence: Persistence): void {
  const received = new Map<string, { readonly count: number; readonly firstAt: number | undefined }>();
  const hide = persistence.updateMessageInflight.bind(persistence);
  const remove = persistence.deleteMessage.bind(persistence);
  persistence.updateMessageInflight = (messageId, receiptHandle, visibleAt, count, firstAt) => {
    received.set(messageId, { count, firstAt });
    hide(messageId, receiptHandle, visibleAt, count, firstAt);
  };
  persistence.updateMessageReady = (messageId) => {
    const { count = 0, firstAt } = received.get(messageId) ?? {};
    // without a handle it is loaded as one that nobody holds
    hide(messageId, "", 0, count, firstAt);
  };
  persistence.deleteMessage = (messageId) => {
    received.delete(messageId);
    remove(messageId);
  };
}
