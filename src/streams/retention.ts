import type { RetentionSettings } from "./contract.ts";
import type { SegmentLog } from "./segment-log.ts";

export const DEFAULT_RETENTION: RetentionSettings = { retentionSeconds: 30 * 24 * 60 * 60, maxBytes: null };

const SETTINGS_KEY = "retention";
/** Between two steps of one trim: appends come first. */
const STEP_PAUSE_MS = 50;
/** Before it is tried again to remove what still has deliveries to make. */
const BLOCKED_PAUSE_MS = 10_000;

/** Trims one log by age and size in small steps, never what is still to be delivered. */
export class Retention {
  readonly #kv: SyncKvStorage;
  readonly #log: SegmentLog;
  #settings: RetentionSettings;
  #pausedUntilMs = 0;

  constructor(kv: SyncKvStorage, log: SegmentLog) {
    this.#kv = kv;
    this.#log = log;
    this.#settings = kv.get<RetentionSettings>(SETTINGS_KEY) ?? DEFAULT_RETENTION;
  }

  get settings(): RetentionSettings {
    return this.#settings;
  }

  /** Null: back to the default. */
  change(settings: RetentionSettings | null): void {
    this.#settings = settings ?? DEFAULT_RETENTION;
    this.#pausedUntilMs = 0;
    if (settings === null) this.#kv.delete(SETTINGS_KEY);
    else this.#kv.put(SETTINGS_KEY, settings);
  }

  /** Removes a step's worth; whether anything went. `fromOffset`: the first that has to stay. */
  trim(fromOffset: number, nowMs: number): boolean {
    const sinceMs = nowMs - this.#settings.retentionSeconds * 1000;
    const { removed, next } = this.#log.trim({ sinceMs, bytes: this.#settings.maxBytes ?? Number.POSITIVE_INFINITY, fromOffset });
    this.#pausedUntilMs = next === "nothing" ? 0 : nowMs + (next === "more" ? STEP_PAUSE_MS : BLOCKED_PAUSE_MS);
    return removed;
  }

  /** When there is something to remove at the earliest, ms; null while the log is empty. */
  nextTrimMs(): number | null {
    const oldestMs = this.#log.oldestTimeMs();
    if (oldestMs === null) return null;
    // A message stays for the whole of its last millisecond.
    const expiresAtMs = oldestMs + this.#settings.retentionSeconds * 1000 + 1;
    const { maxBytes } = this.#settings;
    const isTooLarge = maxBytes !== null && this.#log.bytes > maxBytes && this.#log.hasOlderSegments;
    return Math.max(this.#pausedUntilMs, isTooLarge ? 0 : expiresAtMs);
  }
}
