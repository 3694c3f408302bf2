import { describeError, log } from "../../log.ts";
import type { Presence } from "../subscriptions/contract.ts";
import type { Listeners } from "./listeners.ts";

const SCHEMA = "CREATE TABLE IF NOT EXISTS subscribers (name TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;";
const NAME_KEY = "name";
const LISTED_KEY = "listed";

/**
 * Tells others of a stream: the tenant's directory whether it is there, and subscriptions how far it reaches. What was
 * told is in memory alone. After a restart all are told again: whoever changes the stream sets the alarm first, so that
 * this happens even if nobody asks for the stream any more.
 */
export class Announcer {
  readonly #storage: DurableObjectStorage;
  readonly #listeners: Listeners;
  /** The stream as it is now. */
  readonly #presence: () => Presence;
  /** By name; the number tells one time of subscribing from the next. */
  #subscribers: Map<string, number>;
  #lastNumber = 0;
  #hasTable: boolean;
  #isListed: boolean;
  #told = new Map<string, string>();
  #isRunning: Promise<boolean> | null = null;
  #isStale = false;

  constructor(storage: DurableObjectStorage, listeners: Listeners, presence: () => Presence) {
    this.#storage = storage;
    this.#listeners = listeners;
    this.#presence = presence;
    const { sql, kv } = storage;
    this.#hasTable = sql.exec("SELECT 1 FROM sqlite_master WHERE name = 'subscribers'").toArray().length > 0;
    const rows = this.#hasTable ? sql.exec<{ name: string }>("SELECT name FROM subscribers").toArray() : [];
    this.#subscribers = new Map(rows.map(({ name }) => [name, this.#lastNumber]));
    // An object that holds nothing has not even the table of this store.
    this.#isListed = this.#hasTable && kv.get<boolean>(LISTED_KEY) === true;
  }

  /** Whether somebody has to be told when the stream changes: a subscription, or the directory of a stream it does not know. */
  get hasListeners(): boolean {
    return this.#subscribers.size > 0 || (this.#hasTable && !this.#isListed);
  }

  /** Whether nothing would be lost with the object's storage. */
  get isEmpty(): boolean {
    return this.#subscribers.size === 0 && !this.#isListed;
  }

  /** The object's own name, which it can not find out by itself. Call within the transaction that creates the stream. */
  remember(name: string): void {
    this.#createTable();
    this.#storage.kv.put(NAME_KEY, name);
  }

  /** From now on the subscriber is told of every change; how the stream is now. */
  subscribe(subscriber: string): Presence {
    this.#createTable();
    const presence = this.#presence();
    this.#add([subscriber]);
    this.#subscribers.set(subscriber, ++this.#lastNumber);
    this.#told.set(subscriber, textOf(presence));
    return presence;
  }

  /** Tells whoever does not know yet; whether all of them know now. Changes that come meanwhile are told as well. */
  async announce(): Promise<boolean> {
    this.#isStale = true;
    this.#isRunning ??= this.#run();
    return this.#isRunning;
  }

  /** Everything on disk was removed. */
  forget(): void {
    this.#hasTable = false;
    this.#isListed = false;
    this.#subscribers = new Map();
    this.#told = new Map();
  }

  async #run(): Promise<boolean> {
    let isTold = true;
    try {
      while (this.#isStale) {
        this.#isStale = false;
        isTold = await this.#tellAll();
        if (!isTold) break;
      }
      return isTold;
    } finally {
      this.#isRunning = null;
    }
  }

  async #tellAll(): Promise<boolean> {
    const stream = this.#hasTable ? this.#storage.kv.get<string>(NAME_KEY) : undefined;
    if (stream === undefined) return true;
    try {
      await this.#updateListing(stream);
      const due = [...this.#subscribers.keys()].filter((subscriber) => this.#told.get(subscriber) !== textOf(this.#presence()));
      await Promise.all(due.map((subscriber) => this.#tell(subscriber, stream)));
      return true;
    } catch (error) {
      log("warn", "durable-stream.not-announced", { stream, error: describeError(error) });
      return false;
    }
  }

  async #updateListing(stream: string): Promise<void> {
    const isThere = this.#presence().incarnation !== null;
    if (isThere === this.#isListed) return;
    if (isThere) this.#add(await this.#listeners.list(stream));
    else await this.#listeners.unlist(stream);
    this.#isListed = isThere;
    this.#storage.kv.put(LISTED_KEY, isThere);
    // it may have changed again while the directory was told
    if ((this.#presence().incarnation !== null) !== isThere) this.#isStale = true;
  }

  async #tell(subscriber: string, stream: string): Promise<void> {
    const presence = this.#presence();
    const number = this.#subscribers.get(subscriber);
    const isWanted = await this.#listeners.tell(subscriber, stream, presence);
    // one that subscribed again meanwhile was told where the stream is then
    if (this.#subscribers.get(subscriber) !== number) return;
    this.#told.set(subscriber, textOf(presence));
    if (!isWanted) this.#remove(subscriber);
    else if (textOf(this.#presence()) !== textOf(presence)) this.#isStale = true;
  }

  #add(subscribers: readonly string[]): void {
    for (const subscriber of subscribers) {
      if (this.#subscribers.has(subscriber)) continue;
      this.#storage.sql.exec("INSERT OR IGNORE INTO subscribers (name) VALUES (?)", subscriber);
      this.#subscribers.set(subscriber, ++this.#lastNumber);
    }
  }

  #remove(subscriber: string): void {
    this.#storage.sql.exec("DELETE FROM subscribers WHERE name = ?", subscriber);
    this.#subscribers.delete(subscriber);
    this.#told.delete(subscriber);
  }

  #createTable(): void {
    if (!this.#hasTable) this.#storage.sql.exec(SCHEMA);
    this.#hasTable = true;
  }
}

function textOf({ incarnation, tail }: Presence): string {
  return incarnation === null ? "" : `${incarnation}:${tail}`;
}
