import { createRoute } from "@hono/zod-openapi";
import type { Context } from "hono";
import { shownLink } from "../../streams/subscriptions/announce-wake.ts";
import type { AckResult, ClaimResult, WakeRef } from "../../streams/subscriptions/contract.ts";
import { formatOffset } from "../../streams/protocol/offset.ts";
import { subscriptionStub } from "../../streams/subscriptions/stub.ts";
import { requireScope, requireWakeToken } from "../middleware/require-scope.ts";
import { type AppEnv, createRouter, fail } from "../router.ts";
import { jsonBody, jsonResponse, problemResponses } from "../schemas.ts";
import { invalidOffset, requireAcks, requireSubscription } from "../stream-subscription-request.ts";
import { Acked, Claim, Claimed, SubscriptionParam, WakeAck, WakeRelease } from "../stream-subscription-schemas.ts";

const PATH = "/v1/stream/__ds/subscriptions/{id}";
const tags = ["Stream subscriptions"];
const ackResponses = {
  200: jsonResponse(Acked, "The cursors are moved"),
  ...problemResponses("malformed-request", "malformed-target", "not-found", "fenced", "invalid-request"),
};

const claim = createRoute({
  method: "post",
  path: `${PATH}/claim`,
  tags,
  summary: "Claim the wake of a pull-wake subscription",
  description: "One worker at a time: the lease is theirs until they are done, release it, or give no sign of life.",
  middleware: [requireScope("consume")] as const,
  request: { params: SubscriptionParam, body: jsonBody(Claim) },
  responses: {
    200: jsonResponse(Claimed, "Claimed"),
    ...problemResponses("malformed-target", "not-found", "conflict", "already-claimed", "nothing-pending", "invalid-request"),
  },
});

const ack = createRoute({
  method: "post",
  path: `${PATH}/ack`,
  tags,
  summary: "Say how far a claimed wake is",
  description: "With the token of the claim. All cursors are moved, or none; without `done` the lease begins anew.",
  middleware: [requireWakeToken()] as const,
  request: { params: SubscriptionParam, body: jsonBody(WakeAck) },
  responses: ackResponses,
});

const callback = createRoute({
  method: "post",
  path: `${PATH}/callback`,
  tags,
  summary: "Say how far a webhook's wake is",
  description: "With the `callback_token` that came with it. All cursors are moved, or none; without `done` the lease begins anew.",
  middleware: [requireWakeToken()] as const,
  request: { params: SubscriptionParam, body: jsonBody(WakeAck) },
  responses: ackResponses,
});

const release = createRoute({
  method: "post",
  path: `${PATH}/release`,
  tags,
  summary: "Give a claimed wake back",
  description: "No cursor is moved; what is pending wakes somebody again.",
  middleware: [requireWakeToken()] as const,
  request: { params: SubscriptionParam, body: jsonBody(WakeRelease) },
  responses: { 204: { description: "Given back" }, ...problemResponses("malformed-target", "not-found", "fenced", "invalid-request") },
});

export const streamWakes = createRouter({ code: "INVALID_REQUEST" });

streamWakes.openapi(claim, async (c) => {
  const ref = requireSubscription(c, c.req.valid("param").id);
  const result = await subscriptionStub(c.env.STREAM_SUBSCRIPTIONS, ref).claim(c.req.valid("json").worker);
  if (!result.ok) return refuseClaim(result);
  const { wake, token, links, leaseMs } = result;
  return c.json({ wake_id: wake.wakeId, generation: wake.generation, token, streams: links.map(shownLink), lease_ttl_ms: leaseMs }, 200);
});

streamWakes.openapi(ack, async (c) => c.json(await acknowledge(c, c.req.valid("json")), 200));

streamWakes.openapi(callback, async (c) => c.json(await acknowledge(c, c.req.valid("json")), 200));

streamWakes.openapi(release, async (c) => {
  const ref = requireSubscription(c, c.req.valid("param").id);
  const released = await subscriptionStub(c.env.STREAM_SUBSCRIPTIONS, ref).release(requireOwnWake(c, c.req.valid("json")));
  if (!released.ok) return released.code === "fenced" ? failFenced() : failUnknown();
  return c.body(null, 204);
});

type AckBody = ReturnType<typeof WakeAck.parse>;

async function acknowledge(c: Context<AppEnv>, body: AckBody): Promise<{ ok: true; next_wake: boolean }> {
  const ref = requireSubscription(c, c.req.param("id") ?? "");
  const acks = requireAcks(body.acks);
  const result = await subscriptionStub(c.env.STREAM_SUBSCRIPTIONS, ref).ack(requireOwnWake(c, body), acks, body.done);
  return result.ok ? { ok: true, next_wake: result.nextWake } : refuseAck(result);
}

/** What the body is about has to be what the token is for (§7.3). */
function requireOwnWake(c: Context<AppEnv>, { wake_id: wakeId, generation }: Pick<AckBody, "wake_id" | "generation">): WakeRef {
  const { wake } = c.get("principal");
  return wake?.wakeId === wakeId && wake.generation === generation ? { wakeId, generation } : failFenced();
}

function refuseClaim(result: ClaimResult & { ok: false }): never {
  switch (result.code) {
    case "not-found":
      return failUnknown();
    case "already-claimed":
      return fail({
        code: "already-claimed",
        detail: "Another worker holds the lease: wait for the next wake.",
        error: { code: "ALREADY_CLAIMED", current_holder: result.holder, generation: result.generation },
      });
    case "nothing-pending":
      return fail({ code: "nothing-pending", detail: "No stream has anything new: wait for a wake.", error: { code: "NO_PENDING_WORK" } });
    case "not-pulled":
      return fail({
        code: "conflict",
        detail: "The wakes of this subscription go to its webhook: they can not be claimed.",
        error: { code: "INVALID_REQUEST" },
      });
  }
}

function refuseAck(result: AckResult & { ok: false }): never {
  switch (result.code) {
    case "not-found":
      return failUnknown();
    case "fenced":
      return failFenced();
    case "beyond-tail":
      return invalidOffset(result.index, `lies beyond the end of the stream, which is ${formatOffset(result.tail)}`);
    case "not-linked": {
      const detail = "is not a stream of this subscription";
      const errors = [{ pointer: `/acks/${result.index}/stream`, detail }];
      return fail({ code: "malformed-request", detail: "Leave the stream out and send the request again.", errors, error: { code: "INVALID_REQUEST" } });
    }
  }
}

function failFenced(): never {
  return fail({ code: "fenced", detail: "This wake is over: another generation has taken its place, or none.", error: { code: "FENCED" } });
}

function failUnknown(): never {
  return fail({ code: "not-found", detail: "There is no subscription with this id.", error: { code: "SUBSCRIPTION_NOT_FOUND" } });
}
