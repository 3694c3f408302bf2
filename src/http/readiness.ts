import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { Mailbox } from "../mailbox/mailbox.ts";
import { openMailbox } from "../mailbox/open-mailbox.ts";
import { isMigrated } from "../storage/gauges.ts";
import { streamStub } from "../streams/stub.ts";

/** How one part we depend on answered. */
export type Check = {
  readonly name: "configuration" | "d1" | "durable-objects" | "queue" | "aws";
  readonly status: "ok" | "failed" | "not-configured";
  readonly durationMs: number;
  /** Of `aws`: where messages wait to be pulled, which needs AWS when it is SQS. */
  readonly mailbox?: Mailbox["kind"];
};

const TIMEOUT_MS = 3_000;
/** No stream has this name, for a stream's holds slashes: the object is there to answer only. */
const PROBE_OBJECT = "readiness";

/** Asks every part, at the same time, for at most 3 s each. What failed and why is logged. */
export async function checkReadiness(env: Cloudflare.Env): Promise<Check[]> {
  const checked = await Promise.all([
    check("configuration", async () => void isolateOf(env)),
    check("d1", async () => {
      if (!(await isMigrated(env.DB))) throw new Error("the migrations have not been applied");
    }),
    check("durable-objects", async () => {
      await streamStub(env.STREAMS, PROBE_OBJECT).ping();
    }),
    check("queue", async () => {
      if (typeof env.DELIVERIES.send !== "function") throw new Error("the binding DELIVERIES is missing");
    }),
    checkAws(env),
  ]);
  return checked;
}

async function checkAws(env: Cloudflare.Env): Promise<Check> {
  const mailbox = configuredMailbox(env);
  if (mailbox?.kind !== "sqs") {
    return { name: "aws", status: "not-configured", durationMs: 0, ...(mailbox === null ? {} : { mailbox: mailbox.kind }) };
  }
  const checked = await check("aws", async () => {
    const reached = await mailbox.check();
    if (!reached.ok) throw new Error(`${reached.code}: ${reached.detail}`);
  });
  return { ...checked, mailbox: mailbox.kind };
}

function configuredMailbox(env: Cloudflare.Env): Mailbox | null {
  try {
    return openMailbox(env, isolateOf(env).config);
  } catch {
    return null; // the check of the configuration says why
  }
}

async function check(name: Check["name"], ask: () => Promise<void>): Promise<Check> {
  const startedAtMs = Date.now();
  try {
    await within(TIMEOUT_MS, ask());
    return { name, status: "ok", durationMs: Date.now() - startedAtMs };
  } catch (thrown) {
    log("error", "not ready", { part: name, error: describeError(thrown) });
    return { name, status: "failed", durationMs: Date.now() - startedAtMs };
  }
}

async function within(timeoutMs: number, asked: Promise<void>): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | null = null;
  const timeout = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    await Promise.race([asked, timeout]);
  } finally {
    clearTimeout(timer);
  }
}
