import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Api, gatewayApi, textField } from "../../src/local/api.ts";
import { signal } from "../../src/local/processes.ts";
import { type Gateway as LocalGateway, startGateway as startLocalGateway } from "../system/gateway.ts";
import { ATTRIBUTE } from "./fixture.ts";
import { atExit } from "./processes.ts";
import type { System } from "./system.ts";

/** The gateway, with what only it can be asked. */
export type Gateway = System & {
  readonly api: Api;
  /** The operator's. */
  readonly operatorToken: string;
  /** Stops it, has its files changed by `change`, and starts it again. */
  restartAfter(change: (dataDir: string) => void): Promise<Gateway>;
};

export type GatewaySetting = {
  readonly directory: string;
  /** Of its data below `directory`. */
  readonly name: string;
  readonly receiverPort: number;
  readonly snsEndpoint: string;
  readonly env?: Readonly<Record<string, string>>;
};

/** Longer than the isolate caches live, so that every publish finds the new subscriptions. */
const CACHES_EXPIRE_MS = 1200;

/** Starts a gateway as `npm start` does, on a data directory of its own, and makes it a token that may publish. */
export async function startGateway({ directory, name, receiverPort, snsEndpoint, env = {} }: GatewaySetting): Promise<Gateway> {
  const options = {
    dataDir: join(directory, name),
    env: { POSTERN_ALLOW_HOSTS: `127.0.0.1:${receiverPort}`, POSTERN_SNS_ENDPOINT: snsEndpoint, ...env },
  };
  const running = await startLocalGateway(options);
  const token = textField(await apiOf(running)("POST", "/v1/tokens", { name: "bench", scopes: ["publish"] }), "token");
  return gatewayOf(running, token);
}

function gatewayOf(running: LocalGateway, token: string): Gateway {
  const pid = running.pids().node;
  // It leads a process group of its own, which workerd is in as well.
  const forget = atExit(() => signal(-pid, "SIGKILL"));
  const api = apiOf(running);
  return {
    name: "gateway",
    port: running.port,
    pid,
    headers: { authorization: `Bearer ${token}` },
    api,
    operatorToken: running.token,
    async subscribe(topic, subscribers) {
      const filter = { [ATTRIBUTE.name]: [ATTRIBUTE.value] };
      for (const { url, secret } of subscribers) {
        await api("POST", "/v1/endpoints", { kind: "push", url, secret, topics: [topic], filter });
      }
      await sleep(CACHES_EXPIRE_MS);
    },
    async restartAfter(change) {
      forget();
      await running.stop();
      change(running.dataDir);
      return gatewayOf(await running.restart(), token);
    },
    async stop() {
      forget();
      await running.dispose();
    },
  };
}

function apiOf({ url, token }: LocalGateway): Api {
  return gatewayApi(url, token, new AbortController().signal);
}
