import { WorkerEntrypoint } from "cloudflare:workers";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { DeliveryGroup, Work } from "../streams/contract.ts";
import { streamStub } from "../streams/stub.ts";
import { parseStreamName } from "../streams/ref.ts";
import { attemptWork } from "./attempt-work.ts";
import type { DelivererApi } from "./contract.ts";
import { EndpointHealth } from "./endpoint-health.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import type { DeliveryResult } from "./outcome.ts";
import { deferAll, ResultCollector, settleAsTheyCome, within } from "./settlement.ts";

/** What is not known by then is settled later, so that one slow target holds back no other's result. */
const SOFT_DEADLINE_MS = 300;
const UNREADABLE_DELAY_MS = 5_000;

/** Makes the first attempts of committed groups; stateless, so that many run beside each other. */
export class Deliverer extends WorkerEntrypoint<Cloudflare.Env> implements DelivererApi {
  async deliver(group: DeliveryGroup): Promise<readonly DeliveryResult[]> {
    const isolate = isolateOf(this.env);
    let endpoints: Map<string, DeliveryEndpoint>;
    try {
      const now = isolate.world.now();
      endpoints = await isolate.endpoints.get(this.env.DB, isolate.keyRing, endpointIdsOf(group.work), now);
    } catch (error) {
      log("warn", "endpoints.unreadable", { stream: group.stream, ...describeError(error) });
      return deferAll(group.work, Date.now() + UNREADABLE_DELAY_MS);
    }
    const collector = new ResultCollector();
    const health = new EndpointHealth(this.env.DB);
    const allReported = attemptWork(group.work, {
      topic: parseStreamName(group.stream).name,
      endpoints,
      slots: isolate.slots,
      world: isolate.world,
      onResult: collector.push,
      onReport: (endpoint, report) => this.ctx.waitUntil(health.observe(endpoint, report)),
    });
    if (!(await within(SOFT_DEADLINE_MS, allReported))) this.ctx.waitUntil(this.#settleRest(group, collector, allReported));
    return collector.take();
  }

  /** A settle that fails is no loss: the stream's sweep finds the delivery open and has it attempted again. */
  async #settleRest(group: DeliveryGroup, collector: ResultCollector, allReported: Promise<void>): Promise<void> {
    const stream = streamStub(this.env.STREAMS, group.stream);
    await settleAsTheyCome(collector, allReported, (results) =>
      stream.settle(group.stream, results).catch((error: unknown) => {
        log("warn", "settle.failed", { stream: group.stream, ...describeError(error) });
      }),
    );
  }
}

/** Each endpoint of some work once. */
export function endpointIdsOf(work: readonly Work[]): Set<string> {
  return new Set(work.flatMap(({ claims }) => claims.map(({ endpointId }) => endpointId)));
}
