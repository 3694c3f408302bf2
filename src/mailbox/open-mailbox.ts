import type { Config, MailboxSettings } from "../config.ts";
import { streamStub } from "../streams/stub.ts";
import type { ContentLoader } from "./claim-check.ts";
import type { MailboxObjectApi } from "./durable-object-contract.ts";
import { DurableObjectMailbox } from "./durable-object-mailbox.ts";
import type { Mailbox } from "./mailbox.ts";
import { SqsMailbox } from "./sqs-mailbox.ts";

/** One a configuration, so one an isolate: it holds a client and what is known of queues. */
const opened = new WeakMap<Config, Mailbox>();

/** The mailbox that is configured. Opens no connection yet; what is missing or wrong is a fault of every call. */
export function openMailbox(env: Pick<Cloudflare.Env, "MAILBOXES" | "STREAMS">, config: Config): Mailbox {
  const known = opened.get(config);
  if (known !== undefined) return known;
  const mailbox = createMailbox(env, config.mailbox);
  opened.set(config, mailbox);
  return mailbox;
}

function createMailbox(env: Pick<Cloudflare.Env, "MAILBOXES" | "STREAMS">, settings: MailboxSettings): Mailbox {
  const loadContent: ContentLoader = (stream, offset) => streamStub(env.STREAMS, stream).content(stream, offset);
  switch (settings.kind) {
    case "sqs":
      return new SqsMailbox(settings, loadContent);
    case "durable-object":
      return new DurableObjectMailbox((name) => mailboxStub(env.MAILBOXES, name), loadContent);
  }
}

/** The cast is where untyped RPC becomes the contract that `MailboxObject` implements. */
function mailboxStub(namespace: DurableObjectNamespace, name: string): MailboxObjectApi {
  return namespace.getByName(name) as unknown as MailboxObjectApi;
}
