import { cancelOrphaned } from "./delivery/cancel-orphaned.ts";
import { recallStranded } from "./delivery/recall-stranded.ts";
import type { Isolate } from "./isolate.ts";
import { describeError, log } from "./log.ts";
import { openMailbox } from "./mailbox/open-mailbox.ts";
import { askDueHandshakes } from "./registry/due-handshakes.ts";
import { purgeTenants } from "./registry/purge-tenants.ts";
import { publishOperatorEvents } from "./operator-events/publish-pending.ts";
import { watchQueueBacklogs } from "./operator-events/queue-backlogs.ts";
import { pruneCircuits } from "./storage/endpoint-circuits.ts";
import { deleteExpiredSecrets } from "./storage/endpoint-secrets.ts";
import { deleteExpiredCallbacks } from "./storage/handshakes.ts";
import { pruneExpunged } from "./storage/expunged.ts";
import { pruneHistory } from "./storage/history-prune.ts";
import { pruneIdempotencyKeys } from "./storage/idempotency.ts";
import { pruneJobs } from "./storage/jobs.ts";
import { deleteExpiredPortal } from "./storage/portal-codes.ts";
import { reencryptBatch } from "./storage/reencrypt.ts";
import { deleteExpiredSourceSecrets } from "./storage/source-secrets.ts";
import { wakeOverdueStreams } from "./streams/wake-overdue.ts";

const MINUTE_MS = 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
/** The longest that Amazon SQS keeps a message is 14 days, and as long again as a dead letter. */
const MAX_BOX_AGE_MS = 28 * DAY_MS;
const PRUNE_LIMIT = 50_000;
/** How often backlogs are looked for, in minutes: each look asks a mailbox and wakes a stream. */
const BACKLOG_MINUTES = 5;
const REENCRYPT_LIMIT = 200;

/** What the cron does every minute: bounded portions, so that a backlog is worked off over several runs. */
export async function maintain(env: Cloudflare.Env, { config, keyRing, world }: Isolate, nowMs: number): Promise<void> {
  const db = env.DB;
  const minute = Math.floor(nowMs / MINUTE_MS);
  const tasks = {
    "streams.woken": () => wakeOverdueStreams(env, nowMs),
    "deliveries.orphaned": () => cancelOrphaned(env),
    "history.pruned": () => pruneHistory(db, nowMs - config.historyRetentionDays * DAY_MS, PRUNE_LIMIT),
    "jobs.pruned": () => pruneJobs(db, nowMs - config.historyRetentionDays * DAY_MS, PRUNE_LIMIT),
    "idempotency-keys.pruned": () => pruneIdempotencyKeys(db, nowMs - DAY_MS, PRUNE_LIMIT),
    // no mailbox has anything for longer
    "expunged.pruned": () => pruneExpunged(db, nowMs - MAX_BOX_AGE_MS),
    "circuits.pruned": () => pruneCircuits(db, nowMs),
    // first, so that what no longer signs is not encrypted again
    "secrets.expired": () => deleteExpiredSecrets(db, nowMs),
    "source-secrets.expired": () => deleteExpiredSourceSecrets(db, nowMs),
    "secrets.reencrypted": () => reencryptBatch(db, keyRing, REENCRYPT_LIMIT),
    "portal.expired": () => deleteExpiredPortal(db, nowMs),
    "handshake-callbacks.expired": () => deleteExpiredCallbacks(db, nowMs),
    // last, for a mailbox may be slow, and receivers slower
    "queue.recalled": () => recallStranded(env, minute),
    "queue.backlogs": () => (minute % BACKLOG_MINUTES === 0 ? watchQueueBacklogs(env, minute / BACKLOG_MINUTES, nowMs) : 0),
    "operator-events.published": () => publishOperatorEvents(env),
    "tenants.purged": () => purgeTenants({ env, mailbox: openMailbox(env, config), now: world.now }),
    "handshakes.asked": () => askDueHandshakes(env, { db, keyRing, attempts: world }, nowMs),
  };
  for (const [name, task] of Object.entries(tasks)) {
    try {
      const count = await task();
      if (count > 0) log("info", name, { count });
    } catch (error) {
      log("error", "maintenance.failed", { task: name, error: describeError(error) });
    }
  }
}
