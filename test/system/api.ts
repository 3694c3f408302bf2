import { setTimeout as delay } from "node:timers/promises";
import type { Gateway } from "./gateway.ts";

/** An answer of the gateway, read: `json` is undefined when the body is not JSON, or empty. */
export type Answered = { readonly status: number; readonly headers: Headers; readonly json: any; readonly bytes: Buffer };

export type CallOptions = {
  readonly token?: string | null;
  readonly headers?: Readonly<Record<string, string>>;
  /** Sent as it is; `body` is sent as JSON. */
  readonly raw?: string | Uint8Array;
  readonly body?: unknown;
};

/** Calls the gateway's API as its operator, or with the given token (null: none). */
export async function call(gateway: Pick<Gateway, "url" | "token">, method: string, path: string, options: CallOptions = {}): Promise<Answered> {
  const { token = gateway.token, headers = {}, raw, body } = options;
  const response = await fetch(gateway.url + path, {
    method,
    headers: {
      ...(token === null ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...headers,
    },
    ...(raw !== undefined ? { body: Buffer.from(raw) } : body !== undefined ? { body: JSON.stringify(body) } : {}),
    redirect: "manual",
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  const isJson = /json/.test(response.headers.get("content-type") ?? "");
  return { status: response.status, headers: response.headers, bytes, json: isJson && bytes.length > 0 ? JSON.parse(bytes.toString()) : undefined };
}

export async function createEndpoint(gateway: Gateway, fields: Record<string, unknown>): Promise<{ id: string; secret: string }> {
  const answer = await call(gateway, "POST", "/v1/endpoints", { body: { kind: "push", ...fields } });
  if (answer.status !== 201) throw new Error(`endpoint: ${answer.status} ${answer.bytes.toString()}`);
  return answer.json;
}

/** Publishes text, or bytes, and returns the answer's id and offset. */
export async function publish(
  gateway: Gateway,
  topic: string,
  raw: string | Uint8Array,
  headers: Record<string, string> = { "content-type": "text/plain" },
): Promise<{ id: string; offset: number; matched: number }> {
  const answer = await call(gateway, "POST", `/v1/events/${topic}`, { raw, headers });
  if (answer.status !== 202) throw new Error(`publish: ${answer.status} ${answer.bytes.toString()}`);
  return answer.json;
}

/** Asks until the answer is as wanted; throws the last answer when it never is. */
export async function eventually<Value>(ask: () => Promise<Value>, wanted: (value: Value) => boolean, timeoutMs = 15_000): Promise<Value> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    const value = await ask();
    if (wanted(value)) return value;
    if (Date.now() > deadline) throw new Error(`still not as wanted after ${timeoutMs} ms: ${JSON.stringify(value).slice(0, 2000)}`);
    await delay(100);
  }
}

/** The deliveries of a message, as history shows them. */
export async function deliveriesOf(gateway: Gateway, messageId: string): Promise<any[]> {
  return (await call(gateway, "GET", `/v1/messages/${messageId}/deliveries`)).json?.data ?? [];
}
