import { toBase64 } from "../crypto/base64.ts";
import { newId } from "../ids.ts";
import type { BatchEntry, Bus, Published, PublishOptions, QueryOptions } from "./bus.ts";
import { call, type Connection, type Fetch } from "./call.ts";
import { checkAttributes, checkQueryTimeout, checkQueueMethod, checkTarget } from "./checks.ts";
import { createConsumer } from "./consumer.ts";
import { contentOf, type Data, encodeData } from "./content.ts";
import { problem } from "./errors.ts";
import { createHttpPuller } from "./http-puller.ts";
import { readPublished, readPublishedBatch } from "./wire.ts";

export type ClientOptions = {
  /** Where the gateway is: `https://postern.example.com`. */
  readonly url: string;
  /** An API token or a JWT; a function is asked before every request, for tokens that expire. */
  readonly token: string | (() => string | Promise<string>);
  /** For an operator's token: the tenant to act for. */
  readonly tenant?: string;
  /** Instead of the global `fetch`. */
  readonly fetch?: Fetch;
  /** For each attempt at a call; a query's and a pull's own waiting comes on top. Default 30. */
  readonly timeoutSeconds?: number;
  /** Attempts after the first, where trying again is safe. Default 4. */
  readonly maxRetries?: number;
};

const DEFAULT_TIMEOUT_SECONDS = 30;
const DEFAULT_MAX_RETRIES = 4;
const DEFAULT_QUERY_SECONDS = 15;
/** What HTTP carries unchanged: printable ASCII with no space at either end. */
const PLAIN_HEADER_VALUE = /^(?:[!-~](?:[ -~]*[!-~])?)?$/;

/**
 * A bus on a gateway. Needs nothing but `fetch` and WebCrypto: runs in Node from 20 on, in browsers and in Workers.
 * Every message gets an id before it is sent, so that a retry after a lost answer never sends it twice.
 * @throws TypeError for a URL that is none
 */
export function createClient(options: ClientOptions): Bus {
  const { timeoutSeconds = DEFAULT_TIMEOUT_SECONDS } = options;
  const connection = connectionOf(options);

  const batch: Bus["batch"] = async (entries, { idempotencyKey, signal } = {}) => {
    const messages = entries.map((entry) => batchMessage(entry, idempotencyKey === undefined));
    const answered = await call(connection, {
      method: "POST",
      path: "/v1/batch",
      headers: { "content-type": "application/json", ...keyHeader(idempotencyKey) },
      body: JSON.stringify({ messages }),
      timeoutSeconds,
      repeatable: true,
      signal,
    });
    return readPublishedBatch(answered, entries.length);
  };

  const send = async (path: string, entry: BatchEntry, options: PublishOptions): Promise<Published> => {
    const { idempotencyKey, signal, ...fields } = options;
    const attributes = checkAttributes(fields.attributes);
    if (!headersCarry(attributes)) {
      const [published] = await batch([{ ...entry, ...fields }], options);
      if (published !== undefined) return published;
    }
    const { contentType, body } = encodeData(entry.data, fields.contentType);
    const id = fields.id ?? (idempotencyKey === undefined ? newMessageId() : undefined);
    const answered = await call(connection, {
      method: "POST",
      path,
      headers: { "content-type": contentType, ...attributeHeaders(attributes), ...idHeader(id), ...keyHeader(idempotencyKey) },
      body,
      timeoutSeconds,
      repeatable: true,
      signal,
    });
    return readPublished(answered);
  };

  return {
    batch,
    publish: async (topic, data, options = {}) => send(`/v1/events/${checkTarget(topic)}`, { topic, data }, options),
    command: async (target, data, options = {}) => send(`/v1/commands/${queueMethodPath(target)}`, { command: target, data }, options),
    direct: async (node, data, options = {}) => send(`/v1/direct/${checkTarget(node)}`, { node, data }, options),
    query: async (target, data, options = {}) => query(connection, target, data, timeoutSeconds, options),
    consume: (source, options) => createConsumer(createHttpPuller(connection, source), options),
  };
}

async function query(connection: Connection, target: string, data: Data, graceSeconds: number, options: QueryOptions) {
  const { timeoutSeconds = DEFAULT_QUERY_SECONDS, idempotencyKey, signal } = options;
  const path = queueMethodPath(target);
  checkQueryTimeout(timeoutSeconds);
  const attributes = checkAttributes(options.attributes);
  if (!headersCarry(attributes)) {
    throw problem("invalid-request", "A query's attributes travel as headers: send printable ASCII, and the rest in its data.");
  }
  const { contentType, body } = encodeData(data, options.contentType);
  const id = idempotencyKey === undefined ? newMessageId() : undefined;
  const answered = await call(connection, {
    method: "POST",
    path: `/v1/queries/${path}?timeout=${timeoutSeconds}`,
    headers: { "content-type": contentType, ...attributeHeaders(attributes), ...idHeader(id), ...keyHeader(idempotencyKey) },
    body,
    timeoutSeconds: timeoutSeconds + graceSeconds,
    repeatable: true,
    signal,
  });
  return contentOf(answered.contentType, answered.bytes);
}

function connectionOf({ url, token, tenant, fetch: send, maxRetries = DEFAULT_MAX_RETRIES }: ClientOptions): Connection {
  const { protocol, search, hash, username } = new URL(url);
  if (!/^https?:$/.test(protocol) || search + hash + username !== "") {
    throw new TypeError("`url` is where the gateway is: http or https, without credentials, query or fragment");
  }
  return {
    baseUrl: url.replace(/\/+$/, ""),
    token,
    tenant,
    // Called as a method of another object, the global one throws in browsers and Workers.
    fetch: send ?? ((target, init) => fetch(target, init)),
    maxRetries,
  };
}

/** Everything as text or base 64 with its content type, so that the bytes are those of a single publish. */
function batchMessage({ data, contentType, attributes, id, ...target }: BatchEntry, makeId: boolean): object {
  if ("topic" in target) checkTarget(target.topic);
  else if ("node" in target) checkTarget(target.node);
  else checkQueueMethod(target.command);
  const encoded = encodeData(data, contentType);
  const { body } = encoded;
  return {
    ...target,
    ...(typeof body === "string" ? { data: body } : { dataBase64: toBase64(body) }),
    contentType: encoded.contentType,
    attributes: checkAttributes(attributes),
    id: id ?? (makeId ? newMessageId() : undefined),
  };
}

function newMessageId(): string {
  return newId("msg", Date.now());
}

function queueMethodPath(target: string): string {
  const { queue, method } = checkQueueMethod(target);
  return `${queue}/${method}`;
}

function headersCarry(attributes: Readonly<Record<string, string>>): boolean {
  return Object.values(attributes).every((value) => PLAIN_HEADER_VALUE.test(value));
}

function attributeHeaders(attributes: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(attributes).map(([name, value]) => [`postern-attribute-${name}`, value]));
}

/** The id of a message whose publisher chose it; percent-encoded, as CloudEvents' HTTP binding has it (§3.1.3.2). */
function idHeader(id: string | undefined): Record<string, string> {
  return id === undefined ? {} : { "ce-id": encodeURIComponent(id) };
}

function keyHeader(key: string | undefined): Record<string, string> {
  return key === undefined ? {} : { "idempotency-key": key };
}
