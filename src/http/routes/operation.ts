import { createRoute, z } from "@hono/zod-openapi";
import { VERSION } from "../../config.ts";
import { type Gauges, readGauges } from "../../storage/gauges.ts";
import { requireScope } from "../middleware/require-scope.ts";
import { exposition, type Metric, PROMETHEUS_TYPE } from "../prometheus.ts";
import { type Check, checkReadiness } from "../readiness.ts";
import { RecentReads } from "../../recent-reads.ts";
import { requestCounts } from "../request-counts.ts";
import { createRouter } from "../router.ts";
import { jsonResponse } from "../schemas.ts";

const tags = ["Operation"];
/** Anyone may ask, so what is asked of others is asked this often at most. */
const READINESS_MAX_AGE_MS = 1_000;
const GAUGES_MAX_AGE_MS = 1_000;
const MAX_TENANTS = 1_000;

const Readiness = z
  .object({
    status: z.enum(["ok", "failed"]),
    checks: z.array(
      z.object({
        name: z.enum(["configuration", "d1", "durable-objects", "queue", "aws"]),
        status: z.enum(["ok", "failed", "not-configured"]),
        durationMs: z.number().int(),
        mailbox: z
          .enum(["sqs", "durable-object"])
          .optional()
          .openapi({ description: "Of `aws`: where messages wait to be pulled" }),
      }),
    ),
  })
  .openapi("Readiness");

const healthz = createRoute({
  method: "get",
  path: "/healthz",
  tags,
  summary: "Is it alive",
  description: "Asks nothing of any other part.",
  security: [],
  responses: { 200: jsonResponse(z.object({ status: z.literal("ok"), version: z.string() }), "Alive") },
});

const readyz = createRoute({
  method: "get",
  path: "/readyz",
  tags,
  summary: "Is it ready",
  description: "Names every part the gateway depends on and whether it answers; the log says why one does not.",
  security: [],
  responses: { 200: jsonResponse(Readiness, "Ready"), 503: jsonResponse(Readiness, "A part that is needed does not answer") },
});

const metrics = createRoute({
  method: "get",
  path: "/metrics",
  tags,
  summary: "Metrics for Prometheus",
  description: "An operator sees every tenant and the requests of this isolate, a tenant itself only.",
  middleware: requireScope("read"),
  responses: { 200: { description: "Text exposition format 0.0.4", content: { "text/plain": { schema: z.string() } } } },
});

const recentReadiness = new RecentReads<Check[]>(READINESS_MAX_AGE_MS, 1);
const recentGauges = new RecentReads<Gauges>(GAUGES_MAX_AGE_MS, MAX_TENANTS);

export const operation = createRouter();

operation.openapi(healthz, (c) => c.json({ status: "ok" as const, version: VERSION }, 200));

operation.openapi(readyz, async (c) => {
  const checks = await readiness(c.env);
  return checks.some(({ status }) => status === "failed")
    ? c.json({ status: "failed" as const, checks }, 503)
    : c.json({ status: "ok" as const, checks }, 200);
});

operation.openapi(metrics, async (c) => {
  const { operator, tenantId } = c.get("principal");
  const gauges = await gaugesOf(c.env.DB, operator ? null : tenantId);
  // what others ask is nobody's business but the operator's
  const text = exposition([...gaugeMetrics(gauges), ...(operator ? [requestMetric()] : [])]);
  return c.text(text, 200, { "content-type": PROMETHEUS_TYPE });
});

async function readiness(env: Cloudflare.Env): Promise<Check[]> {
  const nowMs = Date.now();
  const known = recentReadiness.get("", nowMs);
  if (known !== undefined) return known;
  const checks = await checkReadiness(env);
  recentReadiness.set("", checks, nowMs);
  return checks;
}

async function gaugesOf(db: D1Database, tenantId: string | null): Promise<Gauges> {
  const nowMs = Date.now();
  const key = tenantId ?? ""; // no tenant has the empty id
  const known = recentGauges.get(key, nowMs);
  if (known !== undefined) return known;
  const gauges = await readGauges(db, tenantId, nowMs);
  recentGauges.set(key, gauges, nowMs);
  return gauges;
}

function gaugeMetrics({ endpoints, deliveries, openCircuits, recentMessages }: Gauges): Metric[] {
  const gauge = { type: "gauge" } as const;
  return [
    {
      ...gauge,
      name: "postern_endpoints",
      help: "Endpoints by status.",
      samples: endpoints.map(({ tenantId, status, count }) => ({ labels: { tenant: tenantId, status }, value: count })),
    },
    {
      ...gauge,
      name: "postern_deliveries",
      help: "Deliveries that are open or dead, as history has them.",
      samples: deliveries.map(({ tenantId, status, count }) => ({ labels: { tenant: tenantId, status }, value: count })),
    },
    {
      ...gauge,
      name: "postern_endpoints_circuit_open",
      help: "Endpoints that fail so often that they are tried now and then only.",
      samples: openCircuits.map(({ tenantId, count }) => ({ labels: { tenant: tenantId }, value: count })),
    },
    {
      ...gauge,
      name: "postern_messages_last_minute",
      help: "Messages accepted in the last minute, as history has them.",
      samples: recentMessages.map(({ tenantId, count }) => ({ labels: { tenant: tenantId }, value: count })),
    },
  ];
}

function requestMetric(): Metric {
  return {
    name: "postern_http_requests_total",
    type: "counter",
    help: "Requests this isolate has answered since it started.",
    samples: requestCounts().map(({ method, route, status, count }) => ({
      labels: { method, route, status: String(status) },
      value: count,
    })),
  };
}
