import { WorkerEntrypoint } from "cloudflare:workers";
import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { DeliveryGroup } from "../streams/contract.ts";
import { streamStub } from "../streams/stub.ts";
import type { DelivererApi } from "./contract.ts";
import { directoryOf } from "./directory.ts";
import { CACHE_MAX_AGE_MS } from "./freshness.ts";
import type { DeliveryResult } from "./outcome.ts";
import { ResultCollector, settleAsTheyCome, within } from "./settlement.ts";
import { workOff } from "./work-off.ts";

/**
 * What is not known so long after it was begun is settled later, so that one slow target holds back no other's result.
 * As long as this isolate is behind the call does not come back: so its stream accepts no more than can be delivered. But
 * no longer than room is looked for: D1 or a gate that does not answer is no reason to hold publishers up.
 */
const SOFT_DEADLINE_MS = 300;

/** Makes the first attempts of committed groups; stateless, so that many run beside each other. */
export class Deliverer extends WorkerEntrypoint<Cloudflare.Env> implements DelivererApi {
  async deliver(group: DeliveryGroup): Promise<readonly DeliveryResult[]> {
    const { directory, keyRing, world } = isolateOf(this.env);
    const collector = new ResultCollector();
    const waitUntil = (promise: Promise<unknown>): void => this.ctx.waitUntil(promise);
    const { promise: room, resolve: onRoom } = Promise.withResolvers<void>();
    const fresh = directoryOf(this.env.DB, keyRing, world.now);
    const allReported = workOff(group, collector, {
      env: this.env,
      directory: group.uncached === true ? fresh : directory.inFrontOf(fresh, world.now, waitUntil),
      waitUntil,
      returning: false,
      onRoom,
    });
    await within(CACHE_MAX_AGE_MS, Promise.race([room, allReported]));
    if (!(await within(SOFT_DEADLINE_MS, allReported))) this.ctx.waitUntil(this.#settleRest(group, collector, allReported));
    return collector.take();
  }

  /** A settle that fails is no loss: the stream's sweep finds the delivery open and has it attempted again. */
  async #settleRest(group: DeliveryGroup, collector: ResultCollector, allReported: Promise<void>): Promise<void> {
    const stream = streamStub(this.env.STREAMS, group.stream);
    await settleAsTheyCome(collector, allReported, (results) =>
      stream.settle(group.stream, results).catch((error: unknown) => {
        log("warn", "settle.failed", { stream: group.stream, error: describeError(error) });
      }),
    );
  }
}
