import { WorkerEntrypoint } from "cloudflare:workers";

/**
 * The bare relay the bench compares with: what a webhook sender costs at the least in this runtime. It looks the
 * subscribers up in D1 (cached for a second), signs each request as Standard Webhooks asks, forwards, and answers
 * when the subscribers have. It keeps nothing: a crash, or a subscriber that is down, loses the message.
 */
type Env = { readonly DB: D1Database };

type Subscriber = { readonly url: string; readonly key: CryptoKey };

const CACHE_MS = 1000;
const TOPIC_PATH = "/v1/events/";

const encoder = new TextEncoder();
const routes = new Map<string, { readonly loadedAtMs: number; readonly subscribers: Promise<readonly Subscriber[]> }>();
/** Imported once for each secret, not once for each reload of the routes. */
const keys = new Map<string, Promise<CryptoKey>>();

export default {
  async fetch(request, env): Promise<Response> {
    const topic = request.url.slice(request.url.indexOf(TOPIC_PATH) + TOPIC_PATH.length);
    const [body, subscribers] = await Promise.all([request.bytes(), subscribersOf(topic, env.DB)]);
    const contentType = request.headers.get("content-type") ?? "application/octet-stream";
    const id = `msg_${crypto.randomUUID()}`;
    const timestamp = String(Math.floor(Date.now() / 1000));
    const signed = signedBytes(`${id}.${timestamp}.`, body);
    await Promise.all(subscribers.map(async ({ url, key }) => {
      const signature = new Uint8Array(await crypto.subtle.sign("HMAC", key, signed));
      const response = await fetch(url, {
        method: "POST",
        body,
        redirect: "manual",
        headers: {
          "content-type": contentType,
          "webhook-id": id,
          "webhook-timestamp": timestamp,
          "webhook-signature": `v1,${signature.toBase64()}`,
        },
      });
      await response.body?.cancel();
      if (!response.ok) throw new Error(`subscriber answered ${response.status}`);
    }));
    return new Response(`{"id":"${id}"}`, { status: 202, headers: { "content-type": "application/json" } });
  },
} satisfies ExportedHandler<Env>;

/** On a socket of its own, so that the relay's path has no branch for it: `{topic, subscribers: [{url, secret}]}`. */
export class Setup extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    const { topic, subscribers } = await request.json<{ topic: string; subscribers: { url: string; secret: string }[] }>();
    const table = "CREATE TABLE IF NOT EXISTS subscribers (topic TEXT, url TEXT, secret TEXT, PRIMARY KEY (topic, url)) STRICT";
    const insert = this.env.DB.prepare("INSERT INTO subscribers (topic, url, secret) VALUES (?, ?, ?)");
    await this.env.DB.batch([
      this.env.DB.prepare(table),
      ...subscribers.map(({ url, secret }) => insert.bind(topic, url, secret)),
    ]);
    return new Response(null, { status: 204 });
  }
}

function signedBytes(prefix: string, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(prefix.length + body.length);
  encoder.encodeInto(prefix, bytes);
  bytes.set(body, prefix.length);
  return bytes;
}

function subscribersOf(topic: string, db: D1Database): Promise<readonly Subscriber[]> {
  const cached = routes.get(topic);
  const now = Date.now();
  if (cached !== undefined && now - cached.loadedAtMs < CACHE_MS) return cached.subscribers;
  const subscribers = loadSubscribers(topic, db);
  routes.set(topic, { loadedAtMs: now, subscribers });
  return subscribers;
}

async function loadSubscribers(topic: string, db: D1Database): Promise<readonly Subscriber[]> {
  const { results } = await db.prepare("SELECT url, secret FROM subscribers WHERE topic = ?").bind(topic)
    .all<{ url: string; secret: string }>();
  return Promise.all(results.map(async ({ url, secret }) => ({ url, key: await importKey(secret) })));
}

function importKey(secret: string): Promise<CryptoKey> {
  const known = keys.get(secret);
  if (known !== undefined) return known;
  const raw = Uint8Array.fromBase64(secret.slice("whsec_".length));
  const key = crypto.subtle.importKey("raw", raw, { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  keys.set(secret, key);
  return key;
}
