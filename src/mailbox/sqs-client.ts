import { SQSClient } from "@aws-sdk/client-sqs";
import type { MailboxSettings } from "../config.ts";
import { type SqsFailure, sqsFailure } from "./sqs-fault.ts";

export type SqsSettings = Omit<MailboxSettings, "kind">;

export type SqsAnswer<Output> = { readonly ok: true; readonly output: Output } | SqsFailure;

/** Makes one call with the SDK's client; `options` must be handed on to `client.send`. */
export type SqsAsk<Output> = (client: SQSClient, options: { readonly abortSignal: AbortSignal }) => Promise<Output>;

/** Calls SQS with a bound on time; what SQS does not do is a value. */
export type SqsCaller = {
  /** `action` is SQS's own name of it; `waitSeconds` is how long SQS was told to wait before it answers. */
  call<Output>(action: string, ask: SqsAsk<Output>, waitSeconds?: number): Promise<SqsAnswer<Output>>;
};

/** Goes through every answer for what not to log, though nothing is logged; says what SDK this is; looks for AWS Lambda. A tenth of a call. */
const NOT_WANTED = ["loggerMiddleware", "getUserAgentMiddleware", "recursionDetectionMiddleware"];
const TIMEOUT_MS = 5_000;
const MAX_ATTEMPTS = 2;

/** A client for the whole isolate. It opens no connection before the first call, and answers every call with a fault when credentials are missing. */
export function createSqsCaller(settings: SqsSettings): SqsCaller {
  const { awsAccessKeyId: accessKeyId, awsSecretAccessKey: secretAccessKey } = settings;
  if (accessKeyId === null || secretAccessKey === null) {
    const missing = [...(accessKeyId === null ? ["AWS_ACCESS_KEY_ID"] : []), ...(secretAccessKey === null ? ["AWS_SECRET_ACCESS_KEY"] : [])];
    return unconfigured(missing);
  }
  const client = new SQSClient({
    region: settings.awsRegion,
    ...(settings.sqsEndpoint === null ? {} : { endpoint: settings.sqsEndpoint }),
    // Or a signed request goes to whatever host a queue's URL names.
    useQueueUrlAsEndpoint: false,
    credentials: {
      accessKeyId,
      secretAccessKey,
      ...(settings.awsSessionToken === null ? {} : { sessionToken: settings.awsSessionToken }),
    },
    maxAttempts: MAX_ATTEMPTS,
    // TLS protects the bytes already, and hashing them again in JavaScript costs more than the rest of a call.
    md5: false,
  });
  for (const name of NOT_WANTED) client.middlewareStack.remove(name);
  const where = settings.sqsEndpoint ?? settings.awsRegion;
  return { call: (action, ask, waitSeconds = 0) => bounded(client, ask, TIMEOUT_MS + waitSeconds * 1000, { action, where }) };
}

async function bounded<Output>(
  client: SQSClient,
  ask: SqsAsk<Output>,
  timeoutMs: number,
  call: { readonly action: string; readonly where: string },
): Promise<SqsAnswer<Output>> {
  const controller = new AbortController();
  const timer = setTimeout(() => controller.abort(), timeoutMs);
  try {
    return { ok: true, output: await ask(client, { abortSignal: controller.signal }) };
  } catch (thrown) {
    return sqsFailure(thrown, { ...call, timedOut: controller.signal.aborted });
  } finally {
    clearTimeout(timer);
  }
}

function unconfigured(missing: readonly string[]): SqsCaller {
  const detail = `Amazon SQS is not configured: set ${missing.join(" and ")}, or POSTERN_MAILBOX to \`durable-object\`.`;
  const failure: SqsFailure = { ok: false, name: "Unconfigured", fault: { ok: false, code: "not-configured", detail } };
  return { call: async () => failure };
}
