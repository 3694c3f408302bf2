import { createServer } from "node:http";
import type { Decision } from "./decision.ts";

export type Part = "d1" | "queue";

/** Where the Worker before D1 and the queue asks what is to become of each call. */
export type Control = {
  readonly host: string;
  /** How calls to a part are decided from now on; null for no faults. */
  readonly decide: (part: Part, decision: (() => Decision) | null) => void;
  /** How often each fault was done, by `part act`. */
  readonly done: ReadonlyMap<string, number>;
  readonly close: () => Promise<void>;
};

const PASS: Decision = { act: "pass", delayMs: 0 };

/** Listens on loopback; it outlives every gateway that is killed. */
export async function startControl(): Promise<Control> {
  const deciders = new Map<string, () => Decision>();
  const done = new Map<string, number>();
  const server = createServer((request, response) => {
    const part = request.url?.slice(1) ?? "";
    const decision = deciders.get(part)?.() ?? PASS;
    const what = decision.act === "pass" ? "slow" : decision.act;
    if (decision !== PASS) done.set(`${part} ${what}`, (done.get(`${part} ${what}`) ?? 0) + 1);
    response.writeHead(200, { "content-type": "application/json" }).end(JSON.stringify(decision));
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  if (typeof address !== "object" || address === null) throw new Error("the control has no port");
  return {
    host: `127.0.0.1:${address.port}`,
    decide: (part, decision) => void (decision === null ? deciders.delete(part) : deciders.set(part, decision)),
    done,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
