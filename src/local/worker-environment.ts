import { hostAndPort } from "./addresses.ts";
import { type DataDir, keptSecret, newKeyRing, newToken, newWebhookSecret } from "./data-dir.ts";
import type { Emulators } from "./emulators.ts";
import type { Settings } from "./settings.ts";

/** What the Workers see of the environment. Values go to them through workerd's own environment, never a file of it. */
export type WorkerEnvironment = {
  readonly worker: Readonly<Record<string, string>>;
  readonly subscriber: Readonly<Record<string, string>>;
  /** The operator's token, and whether it was made here: then it is shown. */
  readonly token: string;
  readonly tokenIsOurs: boolean;
  readonly subscriberSecret: string;
  /** `host:port` of every private address that deliveries may reach. */
  readonly allowHosts: readonly string[];
};

/** Fills in what was not given: keys that are made once and kept, and the addresses of what was started here. */
export function workerEnvironment(
  settings: Settings,
  dataDir: DataDir,
  emulators: Emulators,
  subscriberPort: number | null,
  gatewayUrl: string,
): WorkerEnvironment {
  const given = settings.handedOn;
  const token = given["POSTERN_ADMIN_TOKEN"] ?? keptSecret(dataDir, "admin-token", newToken);
  const subscriberSecret = keptSecret(dataDir, "subscriber-secret", newWebhookSecret);
  const allowHosts = [...settings.allowHosts, ...(subscriberPort === null ? [] : [hostAndPort("127.0.0.1", subscriberPort)])];
  const emulated = emulators.sqs === null ? {} : EMULATOR_CREDENTIALS;
  return {
    worker: {
      ...emulated,
      // Not what a request says of itself: here nothing stands before the gateway that would check its Host.
      POSTERN_PUBLIC_URL: gatewayUrl,
      ...(emulators.sqs === null ? {} : { POSTERN_SQS_ENDPOINT: emulators.sqs.url }),
      ...(emulators.sns === null ? {} : { POSTERN_SNS_ENDPOINT: emulators.sns.url }),
      ...given,
      POSTERN_ADMIN_TOKEN: token,
      POSTERN_ENCRYPTION_KEYS: given["POSTERN_ENCRYPTION_KEYS"] ?? keptSecret(dataDir, "encryption-keys", newKeyRing),
      POSTERN_ALLOW_HOSTS: allowHosts.join(","),
    },
    subscriber: { SUBSCRIBER_SECRET: subscriberSecret },
    token,
    tokenIsOurs: given["POSTERN_ADMIN_TOKEN"] === undefined,
    subscriberSecret,
    allowHosts,
  };
}

/** The emulator takes any; the SDK wants some. */
const EMULATOR_CREDENTIALS = {
  AWS_ACCESS_KEY_ID: "local",
  AWS_SECRET_ACCESS_KEY: "local",
  AWS_REGION: "us-east-1",
};
