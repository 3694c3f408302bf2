import { recallStranded } from "./delivery/recall-stranded.ts";
import type { Isolate } from "./isolate.ts";
import { describeError, log } from "./log.ts";
import { publishOperatorEvents } from "./operator-events/publish-pending.ts";
import { watchQueueBacklogs } from "./operator-events/queue-backlogs.ts";
import { pruneCircuits } from "./storage/endpoint-circuits.ts";
import { deleteExpiredSecrets } from "./storage/endpoint-secrets.ts";
import { pruneHistory } from "./storage/history-prune.ts";
import { pruneIdempotencyKeys } from "./storage/idempotency.ts";
import { pruneJobs } from "./storage/jobs.ts";
import { reencryptBatch } from "./storage/reencrypt.ts";
import { deleteExpiredSourceSecrets } from "./storage/source-secrets.ts";
import { wakeOverdueStreams } from "./streams/wake-overdue.ts";

const MINUTE_MS = 60 * 1000;
const DAY_MS = 24 * 60 * 60 * 1000;
const PRUNE_LIMIT = 50_000;
/** How often backlogs are looked for, in minutes: each look asks a mailbox and wakes a stream. */
const BACKLOG_MINUTES = 5;
const REENCRYPT_LIMIT = 200;

/** What the cron does every minute: bounded portions, so that a backlog is worked off over several runs. */
export async function maintain(env: Cloudflare.Env, { config, keyRing }: Isolate, nowMs: number): Promise<void> {
  const db = env.DB;
  const minute = Math.floor(nowMs / MINUTE_MS);
  const tasks = {
    "streams.woken": () => wakeOverdueStreams(env, nowMs),
    "history.pruned": () => pruneHistory(db, nowMs - config.historyRetentionDays * DAY_MS, PRUNE_LIMIT),
    "jobs.pruned": () => pruneJobs(db, nowMs - config.historyRetentionDays * DAY_MS, PRUNE_LIMIT),
    "idempotency-keys.pruned": () => pruneIdempotencyKeys(db, nowMs - DAY_MS, PRUNE_LIMIT),
    "circuits.pruned": () => pruneCircuits(db, nowMs),
    // first, so that what no longer signs is not encrypted again
    "secrets.expired": () => deleteExpiredSecrets(db, nowMs),
    "source-secrets.expired": () => deleteExpiredSourceSecrets(db, nowMs),
    "secrets.reencrypted": () => reencryptBatch(db, keyRing, REENCRYPT_LIMIT),
    // last, for a mailbox may be slow
    "queue.recalled": () => recallStranded(env, minute),
    "queue.backlogs": () => (minute % BACKLOG_MINUTES === 0 ? watchQueueBacklogs(env, minute / BACKLOG_MINUTES, nowMs) : 0),
    "operator-events.published": () => publishOperatorEvents(env),
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
