import { describeError, log } from "../log.ts";
import { boxOfEndpoint, boxOfQueue, ENDPOINT_MAX_RECEIVES, ENDPOINT_RETENTION_SECONDS } from "../mailbox/box-of.ts";
import type { BoxRef, Mailbox } from "../mailbox/mailbox.ts";
import { listDuePurges, listTenantsToPurge, type Purge, purgedStatements, purgeFailedStatement, scheduleTenantPurge } from "../storage/purges.ts";
import { endTenantStatements, purgeTenantHistory } from "../storage/tenants.ts";
import { durableStreamStub } from "../streams/protocol/stub.ts";
import { streamStub } from "../streams/stub.ts";
import { removeSubscriptions } from "../streams/subscriptions/remove-subscriptions.ts";

export type PurgeWorld = {
  readonly env: Pick<Cloudflare.Env, "DB" | "STREAMS" | "DURABLE_STREAMS" | "STREAM_SUBSCRIPTIONS" | "STREAM_DIRECTORIES">;
  readonly mailbox: Mailbox;
  readonly now: () => number;
};

/** Objects and mailboxes that one run removes at most, and how many at once: a Worker has six connections. */
const MAX_PER_RUN = 200;
const PARALLEL = 4;
const TENANTS_PER_RUN = 20;
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const MAX_RETRY_MS = HOUR_MS;
/** Something of a tenant may turn up late: the history of what was under way, written after an outage of D1. */
const OFTEN_FOR_MS = 15 * MINUTE_MS;
const WATCH_FOR_MS = 24 * HOUR_MS;

/**
 * Removes what deleted tenants owned outside of the database, of one tenant or of all: bounded, so that the rest is for
 * the next run. How much was removed. What can not be removed now is tried again, later and later.
 */
export async function purgeOwned(world: PurgeWorld, tenantId: string | null = null): Promise<number> {
  const due = (await listDuePurges(world.env.DB, world.now(), MAX_PER_RUN, tenantId)).values();
  let removed = 0;
  const work = async (): Promise<void> => {
    for (const purge of due) if (await removeOwned(world, purge)) removed++;
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return removed;
}

/** What the cron does for deleted tenants: notes and deletes what turned up since, and removes what is outside. */
export async function purgeTenants(world: PurgeWorld): Promise<number> {
  const { DB: db } = world.env;
  for (const { id, deletedAtMs } of await listTenantsToPurge(db, world.now(), TENANTS_PER_RUN)) {
    const nowMs = world.now();
    await db.batch(endTenantStatements(db, id, nowMs));
    await purgeTenantHistory(db, id);
    const ageMs = nowMs - deletedAtMs;
    const nextAtMs = ageMs < OFTEN_FOR_MS ? nowMs + MINUTE_MS : ageMs < WATCH_FOR_MS ? nowMs + HOUR_MS : null;
    await scheduleTenantPurge(db, id, nextAtMs, nowMs + HOUR_MS);
  }
  return purgeOwned(world);
}

async function removeOwned(world: PurgeWorld, purge: Purge): Promise<boolean> {
  const { DB: db } = world.env;
  try {
    await remove(world, purge);
    await db.batch(purgedStatements(db, purge, world.now()));
    return true;
  } catch (error) {
    log("warn", "purge.failed", { tenantId: purge.tenantId, kind: purge.kind, name: purge.name, error: describeError(error) });
    const waitMs = Math.min(MINUTE_MS * 2 ** purge.failures, MAX_RETRY_MS);
    await purgeFailedStatement(db, purge, world.now() + waitMs).run();
    return false;
  }
}

async function remove({ env, mailbox }: PurgeWorld, { tenantId, kind, name }: Purge): Promise<void> {
  switch (kind) {
    case "stream":
      return streamStub(env.STREAMS, name).destroy(name);
    case "own-stream":
      return durableStreamStub(env.DURABLE_STREAMS, name).destroy();
    case "stream-subscriptions":
      return removeSubscriptions({ subscriptions: env.STREAM_SUBSCRIPTIONS, directories: env.STREAM_DIRECTORIES }, name);
    case "endpoint-box":
      return removeBox(mailbox, boxOfEndpoint({ tenantId, id: name, ordered: false }));
    case "queue-box":
      return removeBox(mailbox, boxOfQueue({ tenantId, name, maxReceives: ENDPOINT_MAX_RECEIVES, retentionSeconds: ENDPOINT_RETENTION_SECONDS }));
  }
}

async function removeBox(mailbox: Mailbox, box: BoxRef): Promise<void> {
  const removed = await mailbox.remove(box);
  if (!removed.ok) throw new Error(`${removed.code}: ${removed.detail}`);
}
