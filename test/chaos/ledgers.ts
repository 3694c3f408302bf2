import { createHash } from "node:crypto";

/**
 * Where a message is to arrive: the label of an endpoint that subscribes, `queue:<name>` for any one of a queue's
 * consumers, `node:<name>` for whoever has that node name.
 */
export type Place = string;

/** A message that was sent, under whatever answer. */
export type Sent = {
  readonly what: string;
  readonly colour: string | null;
  readonly hash: string;
  readonly firstSentAtMs: number;
  /** Places where it must arrive if it is acknowledged: they matched for certain before it was sent. */
  readonly places: readonly Place[];
  /** Null while no answer told it. */
  id: string | null;
  /** Of the first 2xx. */
  acknowledgedAtMs: number | null;
  matched: number | null;
  /** In its stream; of a message by SNS not told. */
  offset: number | null;
};

/** A request to a push receiver, or a message that was pulled. */
export type Arrival = {
  readonly place: Place;
  readonly label: string;
  readonly id: string;
  /** Null where the connection was cut before the body was here. */
  hash: string | null;
  readonly atMs: number;
  /** What the gateway can know: true after a 2xx (or an acknowledged ack), false after a failure; null where it is open. */
  succeeded: boolean | null;
  /** How it was answered, for the report. */
  answer: string;
  /** Push only. */
  readonly signed?: { readonly timestampMs: number; readonly by: readonly SecretEntry[] };
};

export type SecretEntry = {
  readonly secret: string;
  readonly fromMs: number;
  /** When it certainly was in force; null for a rotation that was not answered. */
  acknowledgedAtMs: number | null;
  untilMs: number;
};

/** An endpoint as its administrator knows it. `id` is null while its creation was not answered. */
export type EndpointEntry = {
  readonly label: string;
  readonly place: Place;
  readonly kind: "push" | "pull";
  readonly patterns: readonly string[];
  readonly colour: string | null;
  readonly ordered: boolean;
  readonly orderedByColour: boolean;
  readonly secrets: SecretEntry[];
  readonly createSentAtMs: number;
  id: string | null;
  createdAtMs: number | null;
  deleteSentAtMs: number | null;
  deletedAtMs: number | null;
  rotating: boolean;
};

/** A time in which something was broken on purpose. */
export type Fault = { readonly kind: "kill" | "stop" | "sqs" | "d1" | "queue" | "clock"; readonly fromMs: number; untilMs: number };

/** From when on the gateway's clock was off by how much, as far as the run knows: the change itself takes a moment. */
export type Skew = { readonly sinceMs: number; readonly offsetMs: number };

/** A query that was asked; it promises an answer, or none, and never another's. */
export type Asked = { readonly what: string; readonly fromMs: number; untilMs: number; outcome: "answered" | "timed out" | "failed" | "open" };

/** Caches of the gateway are never older than this, and the clock of a busy machine is not finer. */
export const CERTAIN_AFTER_MS = 1_500;

export type Ledgers = {
  readonly sent: Sent[];
  readonly byHash: Map<string, Sent>;
  readonly byId: Map<string, Sent>;
  readonly arrivals: Arrival[];
  readonly endpoints: Map<string, EndpointEntry>;
  readonly faults: Fault[];
  /** In the order of time. */
  readonly skews: Skew[];
  readonly asked: Asked[];
  /** `label id` of what was sent once more on request. */
  readonly resent: Set<string>;
  /** Answers that no fault explains, such as a refused publish. */
  readonly oddAnswers: string[];
};

export function newLedgers(): Ledgers {
  return {
    sent: [], byHash: new Map(), byId: new Map(), arrivals: [], endpoints: new Map(), faults: [], skews: [], asked: [], resent: new Set(), oddAnswers: [],
  };
}

export function hashOf(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex").slice(0, 32);
}

export function enter(ledgers: Ledgers, sent: Sent): Sent {
  if (ledgers.byHash.has(sent.hash)) throw new Error("two messages of the same bytes can not be told apart");
  ledgers.sent.push(sent);
  ledgers.byHash.set(sent.hash, sent);
  return sent;
}

/** Notes a 2xx, and says so when the same message was acknowledged under another id before. */
export function acknowledge(ledgers: Ledgers, sent: Sent, answer: { readonly id: string; readonly matched: number; readonly offset?: number }): void {
  if (sent.id !== null && sent.id !== answer.id) {
    ledgers.oddAnswers.push(`${sent.what}: acknowledged as ${answer.id}, known as ${sent.id}`);
  }
  // It may have been taken at a later sending than the first, when some were deleted.
  const there = sent.places.filter((place) => (ledgers.endpoints.get(place)?.deleteSentAtMs ?? null) === null);
  if (answer.matched < there.length) {
    ledgers.oddAnswers.push(`${sent.what}: ${answer.id} matched ${answer.matched}, and ${there.join(", ")} were there`);
  }
  sent.id = answer.id;
  sent.acknowledgedAtMs ??= Date.now();
  sent.matched ??= answer.matched;
  sent.offset ??= answer.offset ?? null;
  ledgers.byId.set(answer.id, sent);
}

/** The labels of endpoints that an event sent now must reach. */
export function certainlyMatching(ledgers: Ledgers, topic: string, colour: string | null): string[] {
  const nowMs = Date.now();
  return [...ledgers.endpoints.values()]
    .filter((endpoint) => endpoint.createdAtMs !== null && nowMs - endpoint.createdAtMs > CERTAIN_AFTER_MS)
    .filter((endpoint) => endpoint.deleteSentAtMs === null)
    .filter((endpoint) => endpoint.colour === null || endpoint.colour === colour)
    .filter(({ patterns }) => patterns.some((pattern) => patternMatches(pattern, topic)))
    .map(({ place }) => place);
}

export function patternMatches(pattern: string, topic: string): boolean {
  const source = pattern.split(".").map((part) => (part === "**" ? ".+" : part === "*" ? "[^.]+" : part)).join("\\.");
  return new RegExp(`^${source}$`).test(topic);
}

/** Whether a fault of these kinds lies within the time. */
export function faultWithin(ledgers: Ledgers, kinds: readonly Fault["kind"][], fromMs: number, untilMs: number): boolean {
  return ledgers.faults.some((fault) => kinds.includes(fault.kind) && fault.fromMs <= untilMs && fault.untilMs >= fromMs);
}

/** A request that arrives was timed this long before at most. */
const LONGEST_ON_ITS_WAY_MS = 3_000;

/** The earliest real time of what the gateway's clock said about something that was seen at `seenAtMs`. */
export function earliestReal({ skews }: Ledgers, toldMs: number, seenAtMs: number): number {
  const before = skews.findLast(({ sinceMs }) => sinceMs < seenAtMs - LONGEST_ON_ITS_WAY_MS)?.offsetMs ?? 0;
  const recent = skews.filter(({ sinceMs }) => sinceMs >= seenAtMs - LONGEST_ON_ITS_WAY_MS && sinceMs <= seenAtMs);
  return toldMs - Math.max(before, ...recent.map(({ offsetMs }) => offsetMs));
}

/** By how much the gateway's clock went wrong, at most, in a time. */
export function widestJump({ skews }: Ledgers, fromMs: number, untilMs: number): number {
  const before = skews.findLast(({ sinceMs }) => sinceMs < fromMs - LONGEST_ON_ITS_WAY_MS)?.offsetMs ?? 0;
  const offsets = [before, ...skews.filter(({ sinceMs }) => sinceMs >= fromMs - LONGEST_ON_ITS_WAY_MS && sinceMs <= untilMs).map(({ offsetMs }) => offsetMs)];
  return Math.max(...offsets) - Math.min(...offsets);
}
