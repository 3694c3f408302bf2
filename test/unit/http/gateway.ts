import { createApp } from "../../../src/http/app.ts";
import { type TestDatabase, openDatabase } from "../history/sqlite-d1.ts";

export const OPERATOR_TOKEN = "pst_operator_of_these_tests";

/** The HTTP face on a database in memory, with no stream or queue behind it. */
export type TestGateway = TestDatabase & {
  /** Sends a request as the operator unless `token` says otherwise (null: none); `json` becomes the body. */
  send(method: string, path: string, options?: SendOptions): Promise<Response>;
};

export type SendOptions = {
  readonly token?: string | null;
  readonly tenant?: string;
  readonly json?: unknown;
  readonly body?: BodyInit;
  readonly headers?: Readonly<Record<string, string>>;
};

export function openGateway(env: Readonly<Record<string, unknown>> = {}): TestGateway {
  const database = openDatabase();
  const app = createApp();
  const bindings = {
    DB: database.db,
    STREAMS: { getByName: () => ({ ping: async () => "pong" }) },
    DELIVERIES: { send: async () => undefined, sendBatch: async () => undefined },
    POSTERN_ADMIN_TOKEN: OPERATOR_TOKEN,
    POSTERN_ENCRYPTION_KEYS: `test:${btoa("k".repeat(32))}`,
    ...env,
  };
  const context = { waitUntil: () => undefined, passThroughOnException: () => undefined, props: {} };
  return {
    ...database,
    async send(method, path, options = {}) {
      const { token = OPERATOR_TOKEN, tenant, json, body, headers } = options;
      const init = {
        method,
        duplex: "half", // which Node wants to hear of a body that is a stream
        headers: {
          ...(token === null ? {} : { authorization: `Bearer ${token}` }),
          ...(tenant === undefined ? {} : { "postern-tenant": tenant }),
          ...(json === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(json === undefined ? {} : { body: JSON.stringify(json) }),
        ...(body === undefined ? {} : { body }),
      };
      return app.request(path, init, bindings, context);
    },
  };
}

/** A token of the tenant (the default one when it is not named), with these scopes. */
export async function makeToken(gateway: TestGateway, scopes: readonly string[], tenant?: string): Promise<string> {
  const response = await gateway.send("POST", "/v1/tokens", {
    json: { name: "of a test", scopes },
    ...(tenant === undefined ? {} : { tenant }),
  });
  return (await bodyOf(response)).token;
}

/** Whatever a JSON response of ours may hold, as far as tests look into it. */
export type Body = {
  readonly id: string;
  readonly token: string;
  readonly name: string;
  readonly status: string | number;
  readonly type: string;
  readonly detail: string;
  readonly instance: string;
  readonly action: string;
  readonly data: readonly Body[];
  readonly next: string | null;
  readonly errors: readonly { readonly pointer: string; readonly detail: string }[];
  readonly checks: readonly { readonly name: string; readonly status: string; readonly durationMs: number }[];
  readonly subscriptions: readonly unknown[];
};

export async function bodyOf(response: Response | undefined): Promise<Body> {
  if (response === undefined) throw new Error("there is no response");
  return response.json<Body>();
}
