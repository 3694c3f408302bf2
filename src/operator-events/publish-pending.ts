import { isolateOf } from "../isolate.ts";
import { describeError, log } from "../log.ts";
import type { NewMessage } from "../messages/message.ts";
import { publish, type PublishWorld } from "../messages/publish.ts";
import { newTraceparent } from "../messages/traceparent.ts";
import { deleteOperatorEvents, listOperatorEvents } from "../storage/operator-events.ts";
import { streamStub } from "../streams/stub.ts";
import type { StoredEvent } from "./event.ts";

const EVENTS_PER_CALL = 500;
const CONTENT_TYPE = "application/json";

type Env = Pick<Cloudflare.Env, "DB" | "STREAMS"> & Cloudflare.Env;

/**
 * Publishes what waits, as ordinary events of their tenants; how many that were. What is published and can not be
 * removed is published again under the same id, which de-duplicates it. Throws when D1 or a stream can not be reached.
 */
export async function publishOperatorEvents(env: Env): Promise<number> {
  const { routes, world } = isolateOf(env);
  const background: Promise<unknown>[] = [];
  const publishWorld: PublishWorld = {
    db: env.DB,
    routes,
    append: (stream, appends) => streamStub(env.STREAMS, stream).append(stream, appends),
    now: world.now,
    inBackground: (promise) => void background.push(promise),
  };
  const events = await listOperatorEvents(env.DB, EVENTS_PER_CALL);
  let published = 0;
  for (const group of Map.groupBy(events, ({ tenantId, topic }) => `${tenantId} ${topic}`).values()) {
    const [first] = group;
    if (first === undefined) continue;
    const messages = group.map((event) => messageOf(event, newTraceparent(world.fillRandom)));
    const result = await publish(publishWorld, first.tenantId, first.topic, messages);
    if (!result.ok) continue; // no room for it now: the cron comes again
    await deleteOperatorEvents(env.DB, group);
    published += group.length;
  }
  await Promise.allSettled(background);
  return published;
}

/** The same, right after an event was stored: what fails now is left to the cron. */
export async function tryPublishOperatorEvents(env: Env): Promise<void> {
  try {
    await publishOperatorEvents(env);
  } catch (error) {
    log("warn", "operator-events.wait", { error: describeError(error) });
  }
}

function messageOf({ id, attributes, body, topic }: StoredEvent, traceparent: string): NewMessage {
  return {
    id,
    deduplicate: true,
    contentType: CONTENT_TYPE,
    attributes,
    event: { source: "/postern", type: topic },
    traceparent,
    body: new TextEncoder().encode(body),
  };
}
