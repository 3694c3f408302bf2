import { createRoute, z } from "@hono/zod-openapi";
import { type AuditRow, listAudit } from "../../storage/audit.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { decodeIdCursor, toPage } from "../pagination.ts";
import { createRouter, fail } from "../router.ts";
import { jsonResponse, Page, pageOf, problemResponses, Time, toTime } from "../schemas.ts";

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

const list = createRoute({
  method: "get",
  path: "/v1/audit",
  tags: ["Operation"],
  summary: "List changes",
  description:
    "Every change made through the control plane, newest first. An operator sees what belongs to no tenant with `operator=true`.",
  middleware: requireScope("admin"),
  request: { query: Page.extend({ operator: z.enum(["true", "false"]).default("false") }) },
  responses: { 200: jsonResponse(pageOf(AuditEntry), "A page of changes"), ...problemResponses("invalid-cursor") },
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
  const rows = await listAudit(c.env.DB, tenantId, { limit: limit + 1, beforeId });
  return c.json(await toPage(scope, rows, limit, (row) => [row.id], present), 200);
});

function present({ timeMs, ...row }: AuditRow): z.input<typeof AuditEntry> {
  return { ...row, time: toTime(timeMs) };
}
