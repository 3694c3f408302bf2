import { consumeDeadJobs, consumeDeliveries, type ConsumerWorld } from "./delivery/consumer.ts";
import { createApp } from "./http/app.ts";
import { inboundLane } from "./http/inbound-lane.ts";
import { publishLane } from "./http/publish-lane.ts";
import { pullLane } from "./http/pull-lane.ts";
import { isolateOf } from "./isolate.ts";
import { maintain } from "./maintenance.ts";

export { Deliverer } from "./delivery/deliverer.ts";
export { Drain } from "./delivery/drain.ts";
export { RateGate } from "./delivery/rate-gate.ts";
export { MailboxObject } from "./mailbox/durable-object-box.ts";
export { Rendezvous } from "./queries/rendezvous.ts";
export { DurableStream } from "./streams/protocol/durable-stream.ts";
export { Stream } from "./streams/stream.ts";
export { StreamDirectory } from "./streams/subscriptions/directory.ts";
export { StreamSubscription } from "./streams/subscriptions/subscription.ts";

const DEAD_LETTER_QUEUE = "deliveries-dlq";
const app = createApp();

export default {
  fetch: (request, env, ctx) =>
    publishLane(request, env, ctx) ?? inboundLane(request, env, ctx) ?? pullLane(request, env, ctx, app) ?? app.fetch(request, env, ctx),

  async queue(batch, env, ctx) {
    const world: ConsumerWorld = { env, waitUntil: (promise) => ctx.waitUntil(promise) };
    await (batch.queue === DEAD_LETTER_QUEUE ? consumeDeadJobs(batch, world) : consumeDeliveries(batch, world));
  },

  async scheduled(controller, env) {
    await maintain(env, isolateOf(env), controller.scheduledTime);
  },
} satisfies ExportedHandler<Cloudflare.Env>;
