import type { Context } from "hono";
import { isolateOf } from "../isolate.ts";
import type { Outcome, Refusal } from "../registry/refusal.ts";
import type { RegistryWorld } from "../registry/world.ts";
import { auditStatement } from "../storage/audit.ts";
import { auditEntry } from "./audit-trail.ts";
import type { Problem } from "./problem.ts";
import { type AppEnv, fail } from "./router.ts";

/** The registry as this request may change it: its tenant, its actor, its time. */
export function registryWorld(c: Context<AppEnv>): RegistryWorld {
  const { DB: db } = c.env;
  const { dns, certificates } = isolateOf(c.env).world;
  return {
    db,
    keyRing: c.get("keyRing"),
    guard: c.get("config"),
    dns,
    certificates,
    gatewayUrl: gatewayUrlOf(c),
    tenantId: c.get("principal").tenantId,
    nowMs: Date.now(),
    audit: (change) => auditStatement(db, auditEntry(c, change)),
  };
}

/** Without configuration it is where this request came to, which on Cloudflare is a name of this Worker. */
function gatewayUrlOf(c: Context<AppEnv>): string {
  return c.get("config").publicUrl ?? new URL(c.req.url).origin;
}

/** The value of an accepted outcome; a refused one ends the request with its problem. */
export function valueOf<Value>(outcome: Outcome<Value>): Value {
  return outcome.ok ? outcome.value : fail(problemOf(outcome.refusal));
}

function problemOf(refusal: Refusal): Problem {
  switch (refusal.code) {
    case "malformed-target":
      return {
        code: "malformed-target",
        detail: "Mend the listed names and send the request again.",
        errors: refusal.faults,
      };
    case "invalid":
      return {
        code: "invalid-request",
        detail: "Mend the listed fields and send the request again.",
        errors: refusal.faults,
      };
    case "node-taken":
      return {
        code: "conflict",
        detail: "Another endpoint of this tenant has that node name: choose another, or take it from that one first.",
        errors: [{ pointer: "/node", detail: "is taken" }],
      };
    case "pull-endpoint":
      return { code: "conflict", detail: "A pull endpoint has no URL to send to: only push endpoints can be tested." };
    case "unallowed":
      return {
        code: "conflict",
        detail: "The receiver has not allowed anything to be sent yet: see `/v1/endpoints/{id}/handshake`.",
      };
    case "no-such-endpoint":
      return { code: "not-found", detail: "There is no endpoint with this id." };
    case "no-such-subscription":
      return { code: "not-found", detail: "There is no subscription with this id." };
    case "no-such-queue":
      return { code: "unknown-queue", detail: "Create it with PUT, or by subscribing an endpoint with it." };
    case "queue-in-use":
      return { code: "conflict", detail: queueInUse(refusal.endpointIds) };
    case "name-unresolved":
      return { code: "unavailable", detail: `${refusal.detail} Send the request again.`, headers: { "retry-after": "5" } };
    case "mailbox-unavailable":
      return { code: "unavailable", detail: refusal.detail };
  }
}

const MAX_NAMED = 10;

function queueInUse(endpointIds: readonly string[]): string {
  const named = endpointIds.slice(0, MAX_NAMED).join(", ");
  const others = endpointIds.length > MAX_NAMED ? ` and ${endpointIds.length - MAX_NAMED} others` : "";
  return `Members of this queue: ${named}${others}. End their subscriptions with it, or leave \`ifUnused\` out to end them too.`;
}
