import { createRoute, z } from "@hono/zod-openapi";
import { recordAudit } from "../../storage/audit.ts";
import { findJob, type Job as StoredJob, listJobs } from "../../storage/jobs.ts";
import { parseStreamName } from "../../streams/ref.ts";
import { streamStub } from "../../streams/stub.ts";
import { auditEntry } from "../audit-trail.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { orUnavailable } from "../published.ts";
import { createRouter, fail } from "../router.ts";
import { IdParam, jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

const Job = z
  .object({
    id: z.string(),
    kind: z.enum(["replay"]),
    status: z.enum(["running", "done", "stopped"]),
    reason: z.string().nullable().openapi({ description: "Why it was stopped" }),
    endpointId: z.string(),
    topic: z.string(),
    fromOffset: z.number().int(),
    untilOffset: z.number().int().openapi({ description: "The first offset that is not part of it" }),
    total: z.number().int().openapi({ description: "Messages it has to hand to delivery" }),
    done: z.number().int().openapi({ description: "Messages it has handed to delivery: their deliveries show what became of them" }),
    createdAt: Time,
    updatedAt: Time,
  })
  .openapi("Job");

const listRoute = createRoute({
  method: "get",
  path: "/v1/jobs",
  tags: ["Jobs"],
  summary: "List background jobs",
  description: "Newest first; of a running one `done` is a few seconds behind.",
  middleware: [requireScope("read", "manage")] as const,
  request: { query: Page },
  responses: { 200: jsonResponse(pageOf(Job), "A page of jobs"), ...problemResponses("invalid-cursor") },
});

const getRoute = createRoute({
  method: "get",
  path: "/v1/jobs/{id}",
  tags: ["Jobs"],
  summary: "Get a background job",
  middleware: [requireScope("read", "manage")] as const,
  request: { params: IdParam },
  responses: { 200: jsonResponse(Job, "The job and how far it is"), ...problemResponses("not-found") },
});

const stopRoute = createRoute({
  method: "delete",
  path: "/v1/jobs/{id}",
  tags: ["Jobs"],
  summary: "Stop a background job",
  description: "What it has handed to delivery goes on. The job stays, as `stopped`; one that has ended stays as it is.",
  middleware: [requireScope("manage")] as const,
  request: { params: IdParam },
  responses: { 204: { description: "It does not run any more" }, ...problemResponses("not-found", "unavailable") },
});

export const jobs = createRouter();

jobs.openapi(listRoute, async (c) => {
  const { limit, cursor } = c.req.valid("query");
  const { tenantId } = c.get("principal");
  const scope = { config: c.get("config"), tenantId, list: "jobs" };
  const rows = await listJobs(c.env.DB, tenantId, { beforeId: await decodeIdCursor(scope, cursor), limit: limit + 1 });
  return c.json(await toPage(scope, rows, limit, ({ id }) => [id], present), 200);
});

jobs.openapi(getRoute, async (c) => {
  return c.json(present(await requireJob(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id)), 200);
});

jobs.openapi(stopRoute, async (c) => {
  const job = await requireJob(c.env.DB, c.get("principal").tenantId, c.req.valid("param").id);
  if (job.status === "running") {
    const stopping = streamStub(c.env.STREAMS, job.stream).stopReplay(job.stream, job.id);
    await orUnavailable(c.get("requestId"), stopping, "It may run on: send this again.");
    await recordAudit(c.env.DB, auditEntry(c, { action: "job.stop", target: job.id, before: present(job) }));
  }
  return c.body(null, 204);
});

async function requireJob(db: D1Database, tenantId: string, id: string): Promise<StoredJob> {
  return (await findJob(db, tenantId, id)) ?? fail({ code: "not-found", detail: "There is no job with this id." });
}

function present({ stream, createdAtMs, updatedAtMs, ...job }: StoredJob) {
  return { ...job, topic: parseStreamName(stream).name, createdAt: toTime(createdAtMs), updatedAt: toTime(updatedAtMs) };
}
