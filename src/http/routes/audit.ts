import { createRoute, z } from "@hono/zod-openapi";
import { accepts } from "hono/accepts";
import { type AuditRow, listAudit } from "../../storage/audit.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { createRouter, fail } from "../router.ts";
import { Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

const NDJSON = "application/x-ndjson";
const EXPORT_PAGE = 250;

const AuditEntry = z
  .object({
    id: z.string(),
    time: Time,
    actor: z.string().openapi({ description: "Token id, or `operator`" }),
    action: z.string().openapi({ example: "endpoint.update" }),
    target: z.string().openapi({ description: "Id of what changed" }),
    change: z
      .object({ before: z.unknown(), after: z.unknown() })
      .openapi({ description: "What it was and what it became; secrets are masked" }),
    requestId: z.string(),
    ip: z.string().nullable(),
  })
  .openapi("AuditEntry");

/** Typed as a response with whatever body, for an export begins before its end is known. */
const listed: { description: string; content: Record<string, { schema: z.ZodType }> } = {
  description: "A page of changes, or all of them",
  content: {
    "application/json": { schema: pageOf(AuditEntry) },
    [NDJSON]: { schema: z.string().openapi({ description: "A change on each line" }) },
  },
};

const list = createRoute({
  method: "get",
  path: "/v1/audit",
  tags: ["Operation"],
  summary: "List changes",
  description:
    "Every change made through the control plane, newest first. An operator sees what belongs to no tenant with " +
    "`operator=true`. With `Accept: application/x-ndjson` all of them follow one another, a line each, from `cursor` on; " +
    "an export that could not be finished breaks off without the end of a chunked body.",
  middleware: requireScope("admin"),
  request: { query: Page.extend({ operator: z.enum(["true", "false"]).default("false") }) },
  responses: { 200: listed, ...problemResponses("invalid-cursor") },
});

export const audit = createRouter();

audit.openapi(list, async (c) => {
  const { limit, cursor, operator } = c.req.valid("query");
  const principal = c.get("principal");
  const operatorPlane = operator === "true";
  if (operatorPlane && !principal.operator) {
    fail({ code: "missing-scope", detail: "Only an operator token sees what belongs to no tenant." });
  }
  const tenantId = operatorPlane ? null : principal.tenantId;
  const scope = { config: c.get("config"), tenantId, list: "audit" };
  const beforeId = await decodeIdCursor(scope, cursor);
  if (accepts(c, { header: "Accept", supports: ["application/json", NDJSON], default: "application/json" }) === NDJSON) {
    return c.body(exportAudit(c.env.DB, tenantId, beforeId), 200, { "content-type": NDJSON });
  }
  const rows = await listAudit(c.env.DB, tenantId, { limit: limit + 1, beforeId });
  return c.json(await toPage(scope, rows, limit, (row) => [row.id], present), 200);
});

/** Reads on as the client takes what there is, so that an export of any length holds a page at a time. */
function exportAudit(db: D1Database, tenantId: string | null, before: string | null): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  let beforeId = before;
  return new ReadableStream({
    async pull(controller) {
      const rows = await listAudit(db, tenantId, { limit: EXPORT_PAGE, beforeId });
      if (rows.length > 0) controller.enqueue(encoder.encode(rows.map((row) => `${JSON.stringify(present(row))}\n`).join("")));
      beforeId = rows.at(-1)?.id ?? null;
      if (rows.length < EXPORT_PAGE) controller.close();
    },
  });
}

function present({ timeMs, ...row }: AuditRow): z.input<typeof AuditEntry> {
  return { ...row, time: toTime(timeMs) };
}
