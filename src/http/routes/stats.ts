import { createRoute, z } from "@hono/zod-openapi";
import { MAX_COUNTED, readTenantStats } from "../../storage/stats.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { RecentReads } from "../../recent-reads.ts";
import { createRouter } from "../router.ts";
import { jsonResponse, Time, toTime } from "../schemas.ts";

/** Counting a busy tenant is not cheap, and dashboards ask all the time. */
const MAX_AGE_MS = 1_000;
const MAX_TENANTS = 1_000;

const count = z.number().int();

const Stats = z
  .object({
    time: Time.openapi({ description: "When this was counted" }),
    endpoints: z.object({ active: count, paused: count, disabled: count }),
    messages: z.object({ lastHour: count, lastDay: count }),
    deliveries: z.object({ open: count, dead: count }),
    attempts: z
      .object({ lastHour: z.object({ succeeded: count, failed: count }) })
      .openapi({ description: "At endpoints that still exist" }),
  })
  .openapi("Stats");

const statsRoute = createRoute({
  method: "get",
  path: "/v1/stats",
  tags: ["Operation"],
  summary: "Totals of the tenant",
  description: `History is about a second behind; no count looks at more than ${MAX_COUNTED} rows of it, the oldest of the time.`,
  middleware: [requireScope("read")] as const,
  responses: { 200: jsonResponse(Stats, "Totals") },
});

const recent = new RecentReads<z.infer<typeof Stats>>(MAX_AGE_MS, MAX_TENANTS);

export const stats = createRouter();

stats.openapi(statsRoute, async (c) => {
  const { tenantId } = c.get("principal");
  const nowMs = Date.now();
  const known = recent.get(tenantId, nowMs);
  if (known !== undefined) return c.json(known, 200);
  const totals = await readTenantStats(c.env.DB, tenantId, nowMs);
  const body = {
    time: toTime(nowMs),
    endpoints: totals.endpoints,
    messages: { lastHour: totals.messagesLastHour, lastDay: totals.messagesLastDay },
    deliveries: { open: totals.openDeliveries, dead: totals.deadDeliveries },
    attempts: {
      lastHour: { succeeded: totals.succeededAttemptsLastHour, failed: totals.failedAttemptsLastHour },
    },
  };
  recent.set(tenantId, body, nowMs);
  return c.json(body, 200);
});
