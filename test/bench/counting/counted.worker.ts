import { DurableObject, WorkerEntrypoint } from "cloudflare:workers";
import worker, * as gateway from "../../../src/index.ts";
import { countStorage, units } from "./count-storage.ts";
import { CRON_PATH, UNITS_PATH, type UnitsAnswer } from "./units.ts";

export * from "../../../src/index.ts";

type D1Service = Fetcher & { query(request: unknown): Promise<{ readonly results: readonly Answered[] }> };
type CountedEnv = { readonly COUNTED_D1: D1Service; readonly COUNTED_QUEUE: Fetcher };
type Answered = { readonly meta?: { readonly rows_read?: number; readonly rows_written?: number } };
type Method = (this: DurableObject, ...given: unknown[]) => unknown;

/** Of the objects that were called since the last answer. */
const objects = new Set<string>();

for (const exported of Object.values(gateway)) {
  if (typeof exported === "function" && exported.prototype instanceof DurableObject) countCalls(exported.prototype);
}
countSqsCalls();

/** The gateway, which also says what it used. */
export default {
  async fetch(request, env, ctx) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === UNITS_PATH) return Response.json(takeAnswer());
    if (pathname === CRON_PATH) {
      units.workerRequests++;
      const scheduledTime = Number(searchParams.get("at"));
      await worker.scheduled({ scheduledTime, cron: "* * * * *", noRetry: () => undefined }, env);
      return Response.json(takeAnswer());
    }
    units.workerRequests++;
    return worker.fetch(request, env, ctx);
  },

  async queue(batch, env, ctx) {
    units.workerRequests++;
    units.queueOperations += batch.messages.length;
    await worker.queue(batch, env, ctx);
  },
} satisfies ExportedHandler<Cloudflare.Env>;

/** The database as the gateway reaches it. */
export class CountedD1 extends WorkerEntrypoint<CountedEnv> {
  async query(request: unknown): Promise<unknown> {
    const answer = await this.env.COUNTED_D1.query(request);
    countRows(answer.results);
    return answer;
  }

  override async fetch(request: Request): Promise<Response> {
    const response = await this.env.COUNTED_D1.fetch(request);
    const text = await response.text();
    if (response.ok) countRows(JSON.parse(text));
    return new Response(text, response);
  }
}

/** The queue as the gateway sends to it: each message is written once, and deleted once. */
export class CountedQueue extends WorkerEntrypoint<CountedEnv> {
  override async fetch(request: Request): Promise<Response> {
    const messages = Number(request.headers.get("cf-queue-batch-count") ?? 1);
    if (request.method === "POST") units.queueOperations += 2 * messages;
    return this.env.COUNTED_QUEUE.fetch(request);
  }
}

function countRows(answers: readonly Answered[]): void {
  for (const { meta } of answers) {
    units.d1RowsRead += meta?.rows_read ?? 0;
    units.d1RowsWritten += meta?.rows_written ?? 0;
  }
}

/** Has every method of a Durable Object count its calls, and those of its storage. */
function countCalls(prototype: object): void {
  for (const [name, { value }] of Object.entries(Object.getOwnPropertyDescriptors(prototype))) {
    if (name === "constructor" || typeof value !== "function") continue;
    const method = value as Method;
    const counted: Method = function (...given) {
      const { ctx } = this as unknown as { readonly ctx: DurableObjectState };
      countStorage(ctx.storage);
      objects.add(ctx.id.toString());
      units.objectRequests++;
      return method.apply(this, given);
    };
    Object.defineProperty(prototype, name, { value: counted, configurable: true, writable: true });
  }
}

/** Whatever is sent to AWS: what is pushed goes to addresses of other kinds. */
function countSqsCalls(): void {
  const send = globalThis.fetch;
  globalThis.fetch = (input, init) => {
    const headers = new Headers(init?.headers ?? (input instanceof Request ? input.headers : {}));
    if (headers.get("x-amz-target")?.startsWith("AmazonSQS.") === true) units.sqsCalls++;
    return send(input, init);
  };
}

function takeAnswer(): UnitsAnswer {
  const answer = { units: { ...units }, objects: objects.size };
  objects.clear();
  return answer;
}
