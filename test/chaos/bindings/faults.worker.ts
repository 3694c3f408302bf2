import { WorkerEntrypoint } from "cloudflare:workers";
import type { Decision } from "../decision.ts";

type D1Service = Fetcher & { query(request: unknown): Promise<unknown> };
type Env = { readonly CONTROL: Fetcher; readonly D1: D1Service; readonly QUEUE: Fetcher };

const PASS: Decision = { act: "pass", delayMs: 0 };

/** The database as the gateway reaches it: its calls fail before they are made, or after. */
export class FaultyD1 extends WorkerEntrypoint<Env> {
  async query(request: unknown): Promise<unknown> {
    return withFaults(await decide(this.env, "d1"), () => this.env.D1.query(request));
  }

  override async fetch(request: Request): Promise<Response> {
    return withFaults(await decide(this.env, "d1"), await repeatable(request, this.env.D1));
  }
}

/** The queue as the gateway sends to it: what it takes may get lost, come twice, or be taken and said to be refused. */
export class FaultyQueue extends WorkerEntrypoint<Env> {
  override async fetch(request: Request): Promise<Response> {
    const forward = await repeatable(request, this.env.QUEUE);
    const decision = await decide(this.env, "queue");
    if (decision.act === "drop") return Response.json({ metadata: { metrics: { backlogCount: 0, backlogBytes: 0 } } });
    if (decision.act === "duplicate") await (await forward()).body?.cancel();
    return withFaults(decision, forward);
  }
}

async function repeatable(request: Request, service: Fetcher): Promise<() => Promise<Response>> {
  const { method, headers, url } = request;
  const body = method === "GET" ? null : await request.arrayBuffer();
  return () => service.fetch(url, { method, headers, body });
}

async function withFaults<Result>({ act, delayMs }: Decision, forward: () => Promise<Result>): Promise<Result> {
  if (delayMs > 0) await scheduler.wait(delayMs);
  if (act === "fail before") throw new Error("chaos: failed before anything was done");
  const result = await forward();
  if (act === "fail after") throw new Error("chaos: failed after it was done");
  return result;
}

/** Without the test there are no faults. */
async function decide({ CONTROL }: Env, part: string): Promise<Decision> {
  try {
    return await (await CONTROL.fetch(`http://control/${part}`)).json();
  } catch {
    return PASS;
  }
}
