import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { type Api, gatewayApi, textField } from "../../src/local/api.ts";
import { signal } from "../../src/local/processes.ts";
import { startGateway as startLocalGateway } from "../system/gateway.ts";
import { ATTRIBUTE } from "./fixture.ts";
import { atExit } from "./processes.ts";
import type { System } from "./system.ts";

/** The gateway, with what only it can be asked. */
export type Gateway = System & { readonly api: Api };

/** Longer than the isolate caches live, so that every publish finds the new subscriptions. */
const CACHES_EXPIRE_MS = 1200;

/** Starts the gateway as `npm start` does, on a data directory of its own, and makes it a token that may publish. */
export async function startGateway(directory: string, receiverPort: number, snsEndpoint: string): Promise<Gateway> {
  const running = await startLocalGateway({
    dataDir: join(directory, "gateway"),
    env: { POSTERN_ALLOW_HOSTS: `127.0.0.1:${receiverPort}`, POSTERN_SNS_ENDPOINT: snsEndpoint },
  });
  const pid = running.pids().node;
  // It leads a process group of its own, which workerd is in as well.
  const forget = atExit(() => signal(-pid, "SIGKILL"));
  const api = gatewayApi(running.url, running.token, new AbortController().signal);
  const token = textField(await api("POST", "/v1/tokens", { name: "bench", scopes: ["publish"] }), "token");
  return {
    name: "gateway",
    port: running.port,
    pid,
    headers: { authorization: `Bearer ${token}` },
    api,
    async subscribe(topic, subscribers) {
      const filter = { [ATTRIBUTE.name]: [ATTRIBUTE.value] };
      for (const { url, secret } of subscribers) {
        await api("POST", "/v1/endpoints", { kind: "push", url, secret, topics: [topic], filter });
      }
      await sleep(CACHES_EXPIRE_MS);
    },
    async stop() {
      forget();
      await running.dispose();
    },
  };
}
