import type { Context } from "hono";
import { forgetOwnStream } from "../../storage/purges.ts";
import { openLog } from "../../streams/open-log.ts";
import { openDurableStream, type ReadableLog } from "../../streams/protocol/readable-log.ts";
import type { StreamPath } from "../../streams/protocol/path.ts";
import { durableStreamName, durableStreamStub } from "../../streams/protocol/stub.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { appendToStream } from "../stream-append.ts";
import { createStream } from "../stream-create.ts";
import { streamDocumentation } from "../stream-documentation.ts";
import { failMissing } from "../stream-missing.ts";
import { describeStream, readStream } from "../stream-read.ts";
import { requirePath } from "../stream-request.ts";

const PATH = "/v1/stream/:path{.+}";

export const streamRoutes = createRouter();
for (const route of streamDocumentation) streamRoutes.openAPIRegistry.registerPath(route);

streamRoutes.put(PATH, requireScope("publish"), async (c) => createStream(c, requireOwn(c)));

streamRoutes.post(PATH, requireScope("publish"), async (c) => appendToStream(c, requireOwn(c)));

streamRoutes.delete(PATH, requireScope("publish"), async (c) => {
  const path = requireOwn(c);
  // first, so that one who makes it anew at this moment is the last to say so
  await forgetOwnStream(c.env.DB, c.get("principal").tenantId, path);
  const removed = await durableStreamStub(c.env.DURABLE_STREAMS, objectName(c, path)).remove();
  return removed.ok ? c.body(null, 204) : failMissing(removed);
});

streamRoutes.get(PATH, requireScope("read", "consume"), async (c) => {
  const named = requirePath(c);
  const log = open(c, named);
  return c.req.method === "HEAD" ? describeStream(c, log) : readStream(c, log, named.kind === "log");
});

function open(c: Context<AppEnv>, named: StreamPath): ReadableLog {
  if (named.kind === "own") return openDurableStream(c.env.DURABLE_STREAMS, objectName(c, named.path));
  return openLog(c.env.STREAMS, { tenantId: c.get("principal").tenantId, kind: named.log, name: named.name });
}

function objectName(c: Context<AppEnv>, ownPath: string): string {
  return durableStreamName(c.get("principal").tenantId, ownPath);
}

const WRITES = {
  topics: "POST /v1/events/",
  queues: "POST /v1/commands/",
  nodes: "POST /v1/direct/",
} as const;

/** The path of a stream that can be written to; the logs are written by publishing. */
function requireOwn(c: Context<AppEnv>): string {
  const named = requirePath(c);
  if (named.kind === "own") return named.path;
  const method = named.log === "queues" ? "/{method}" : "";
  return fail({
    code: "method-not-allowed",
    detail: `This log is written by publishing: \`${WRITES[named.log]}${named.name}${method}\`.`,
    headers: { allow: "GET, HEAD, OPTIONS" },
  });
}
