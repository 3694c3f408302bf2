import { consumeDeadJobs, consumeDeliveries, type ConsumerWorld } from "./delivery/consumer.ts";
import { createApp } from "./http/app.ts";
import { isolateOf } from "./isolate.ts";
import { maintain } from "./maintenance.ts";
import { streamStub } from "./streams/stub.ts";

export { Deliverer } from "./delivery/deliverer.ts";
export { Stream } from "./streams/stream.ts";

const DEAD_LETTER_QUEUE = "deliveries-dlq";
const app = createApp();

export default {
  fetch: (request, env, ctx) => app.fetch(request, env, ctx),

  async queue(batch, env, ctx) {
    const world: ConsumerWorld = {
      db: env.DB,
      isolate: isolateOf(env),
      stream: (name) => streamStub(env.STREAMS, name),
      waitUntil: (promise) => ctx.waitUntil(promise),
    };
    await (batch.queue === DEAD_LETTER_QUEUE ? consumeDeadJobs(batch, world) : consumeDeliveries(batch, world));
  },

  async scheduled(controller, env) {
    await maintain(env.DB, isolateOf(env), controller.scheduledTime);
  },
} satisfies ExportedHandler<Cloudflare.Env>;
