import { setTimeout as delay } from "node:timers/promises";
import type { Gateway } from "../system/gateway.ts";
import type { Ledgers } from "./ledgers.ts";
import type { Random } from "./random.ts";

/** Everything the actors of a run share. */
export type World = {
  readonly random: Random;
  readonly ledgers: Ledgers;
  /** The gateway as it runs now; after a kill another one, at the same address and on the same data. */
  gateway: Gateway;
  /** What those before it wrote. */
  readonly pastLogs: string[];
  /** Settles when the gateway runs again; resolved while it does. */
  up: Promise<void>;
  /** True once traffic is to end. */
  stopping: boolean;
};

/** What was answered; null when nothing was. */
export type Said = { readonly status: number; readonly text: string; readonly json: any } | null;

const NO_ANSWER_AFTER_MS = 45_000;

export type Asked = {
  readonly body?: unknown;
  readonly raw?: Uint8Array;
  readonly headers?: Readonly<Record<string, string>>;
  readonly token?: null;
};

/** Calls the gateway as its operator. Null when it gave no answer: nothing is promised then, and nothing denied. */
export async function ask({ gateway }: Pick<World, "gateway">, method: string, path: string, { body, raw, headers = {}, token }: Asked = {}): Promise<Said> {
  const payload = raw ?? (body === undefined ? undefined : JSON.stringify(body));
  try {
    const response = await fetch(gateway.url + path, {
      method,
      headers: {
        ...(token === null ? {} : { authorization: `Bearer ${gateway.token}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
        ...headers,
      },
      ...(payload === undefined ? {} : { body: Buffer.from(payload) }),
      redirect: "manual",
      signal: AbortSignal.timeout(NO_ANSWER_AFTER_MS),
    });
    const text = await response.text();
    const isJson = /json/.test(response.headers.get("content-type") ?? "") && text !== "";
    return { status: response.status, text, json: isJson ? JSON.parse(text) : undefined };
  } catch {
    return null; // the connection broke, or the answer did not come
  }
}

/** Asks until there is an answer below 500, or the time is over. */
export async function insist(world: World, method: string, path: string, asked: Asked = {}, timeoutMs = 60_000): Promise<NonNullable<Said>> {
  const deadline = Date.now() + timeoutMs;
  for (;;) {
    await world.up;
    const said = await ask(world, method, path, asked);
    if (said !== null && said.status < 500 && said.status !== 429) return said;
    if (Date.now() > deadline) throw new Error(`${method} ${path}: ${said === null ? "no answer" : `${said.status} ${JSON.stringify(said.json)}`}`);
    await delay(200);
  }
}

/** Waits, but not beyond the end of the traffic. */
export async function pause(world: World, ms: number): Promise<void> {
  const until = Date.now() + ms;
  while (!world.stopping && Date.now() < until) await delay(Math.min(100, Math.max(1, until - Date.now())));
}
