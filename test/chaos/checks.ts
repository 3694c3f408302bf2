import { type Arrival, earliestReal, type EndpointEntry, faultWithin, type Ledgers, type Sent, widestJump } from "./ledgers.ts";
import type { History, HistoryDelivery } from "./history.ts";
import { missing } from "./quiet.ts";

/** One line of the report. `violations` say which message, and what each ledger knows of it. */
export type Check = { readonly name: string; readonly counts: string; readonly violations: readonly string[] };

type Evidence = {
  readonly ledgers: Ledgers;
  readonly history: History;
  readonly strays: readonly string[];
  /** What was pulled and may not be done with, how often it was received, and what SQS put aside. */
  readonly unsettled: readonly { readonly place: string; readonly receivesById: ReadonlyMap<string, number>; readonly deadLetters: ReadonlySet<string> }[];
  readonly startedAtMs: number;
};

/** Holds the three ledgers against each other. */
export function runChecks(evidence: Evidence): Check[] {
  const told = describer(evidence);
  return [
    checkAnswers(evidence),
    checkQueries(evidence),
    checkComplete(evidence, told),
    checkHashes(evidence, told),
    checkNoInventions(evidence, told),
    checkDuplicates(evidence, told),
    checkOrder(evidence, told),
    checkDeleted(evidence),
    checkSignatures(evidence),
    checkHistory(evidence, told),
    checkPulled(evidence),
  ];
}

type Describe = (sent: Sent, place?: string) => string;

/** What each ledger says of a message, in one text. */
function describer({ ledgers, history, startedAtMs }: Evidence): Describe {
  const at = (ms: number | null): string => (ms === null ? "never" : `+${((ms - startedAtMs) / 1000).toFixed(3)}s`);
  return (sent, place) => {
    const arrivals = ledgers.arrivals.filter(({ id, place: there }) => id === sent.id && (place === undefined || place === there));
    const faults = ledgers.faults
      .filter(({ fromMs, untilMs }) => untilMs > sent.firstSentAtMs - 2_000 && fromMs < (arrivals.at(-1)?.atMs ?? sent.firstSentAtMs) + 60_000)
      .slice(0, 12)
      .map(({ kind, fromMs, untilMs }) => `${kind} ${at(fromMs)}..${at(untilMs)}`);
    const says = (history.get(sent) ?? []).map(({ target, status, reason, nextAttemptAt, attempts }) => ({
      target: nameOf(ledgers, target), status, reason, nextAttemptAt,
      attempts: attempts.slice(-6).map(({ time, statusCode, error }) => `${at(Date.parse(time))} ${statusCode ?? error}`),
    }));
    return [
      `${sent.id} on ${sent.what}${place === undefined ? "" : ` at ${place}`}, sent ${at(sent.firstSentAtMs)}, acknowledged ${at(sent.acknowledgedAtMs)}`,
      `  arrived: ${arrivals.slice(-8).map(({ label, atMs, answer }) => `${at(atMs)} ${label} ${answer}`).join("; ") || "never"}`,
      `  history: ${history.get(sent) === null ? "unknown" : JSON.stringify(says)}`,
      `  faults:  ${faults.join("; ") || "none"}`,
    ].join("\n");
  };
}

function nameOf({ endpoints }: Ledgers, target: string): string {
  return [...endpoints.values()].find(({ id }) => id === target)?.label ?? target;
}

const acknowledgedOf = ({ sent }: Ledgers): Sent[] => sent.filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null);

function checkAnswers({ ledgers, strays }: Evidence): Check {
  const { sent } = ledgers;
  return {
    name: "answers are those of the contract, and no request strays",
    counts: `${sent.length} sent, ${acknowledgedOf(ledgers).length} acknowledged, ${strays.length} strays`,
    violations: [...ledgers.oddAnswers, ...strays.map((stray) => `stray: ${stray}`)],
  };
}

/** A wrong answer is among the odd ones; that none came in time needs a reason. */
function checkQueries({ ledgers, startedAtMs }: Evidence): Check {
  const { asked } = ledgers;
  const count = (outcome: string): number => asked.filter((one) => one.outcome === outcome).length;
  const late = asked.filter(({ outcome, fromMs, untilMs }) => outcome === "timed out" && !faultWithin(ledgers, ANY_FAULT, fromMs - FAULT_LINGERS_MS, untilMs));
  return {
    name: "every query is answered by its own answer, or a fault explains that none came",
    counts: `${asked.length} asked, ${count("answered")} answered, ${count("timed out")} timed out, ${count("failed")} failed`,
    violations: late.map(({ what, fromMs, untilMs }) => `${what}: no answer from +${fromMs - startedAtMs} ms to +${untilMs - startedAtMs} ms`),
  };
}

const ANY_FAULT = ["kill", "stop", "sqs", "d1", "queue", "clock"] as const;
/** A message of the queue that got lost is missed ten seconds later. */
const FAULT_LINGERS_MS = 15_000;

function checkComplete({ ledgers, history }: Evidence, told: Describe): Check {
  const expected = acknowledgedOf(ledgers).reduce((sum, { places }) => sum + places.length, 0);
  const absent = missing(ledgers);
  const lost = absent.filter(({ sent, place }) => {
    const status = deliveryAt(ledgers, history.get(sent), place)?.status;
    return status !== "dead" && status !== "cancelled";
  });
  return {
    name: "acknowledged is in arrived, dead or cancelled",
    counts: `${expected} expected, ${absent.length - lost.length} dead or cancelled, ${lost.length} lost`,
    violations: lost.map(({ sent, place }) => told(sent, place)),
  };
}

function deliveryAt({ endpoints }: Ledgers, deliveries: readonly HistoryDelivery[] | null | undefined, place: string): HistoryDelivery | undefined {
  return deliveries?.find(({ target }) => target === place || target === endpoints.get(place)?.id || placeOfShared(target, place));
}

function placeOfShared(target: string, place: string): boolean {
  return (target === "member" && place.startsWith("queue:")) || (target === "node" && place.startsWith("node:"));
}

function checkHashes({ ledgers }: Evidence, told: Describe): Check {
  const whole = ledgers.arrivals.filter(({ hash, id }) => hash !== null && ledgers.byId.has(id));
  const different = whole.filter(({ hash, id }) => ledgers.byId.get(id)?.hash !== hash);
  return {
    name: "what arrived has the hash of what was acknowledged",
    counts: `${whole.length} compared`,
    violations: different.flatMap(({ id, place }) => {
      const sent = ledgers.byId.get(id);
      return sent === undefined ? [] : [told(sent, place)];
    }),
  };
}

/** What arrived under an id that no answer told must be what was sent without an answer: once, at a place it matches. */
function checkNoInventions({ ledgers }: Evidence, told: Describe): Check {
  const unknown = ledgers.arrivals.filter(({ id, hash }) => hash !== null && !ledgers.byId.has(id));
  const idsByHash = Map.groupBy(unknown, ({ hash }) => hash ?? "");
  const violations: string[] = [];
  for (const [hash, arrivals] of idsByHash) {
    const sent = ledgers.byHash.get(hash);
    const ids = new Set(arrivals.map(({ id }) => id));
    if (sent === undefined) violations.push(`${[...ids].join(", ")} at ${arrivals[0]?.place}: nobody sent this`);
    else if (ids.size > 1 || sent.id !== null) violations.push(`${[...ids].join(", ")}: sent once\n${told(sent)}`);
  }
  return {
    name: "arrived is in acknowledged or unanswered",
    counts: `${ledgers.arrivals.length} arrivals, of ${idsByHash.size} messages without an answer`,
    violations,
  };
}

function checkDuplicates({ ledgers }: Evidence, told: Describe): Check {
  const groups = Map.groupBy(ledgers.arrivals, ({ place, id }) => `${place} ${id}`);
  const violations: string[] = [];
  let explained = 0;
  for (const [key, arrivals] of groups) {
    const first = arrivals.find(({ succeeded }) => succeeded === true);
    const later = first === undefined ? [] : arrivals.filter(({ atMs }) => atMs > first.atMs);
    for (const duplicate of later) {
      if (first === undefined) continue;
      if (ledgers.resent.has(key) || isExplained(ledgers, first, duplicate)) explained++;
      else {
        const sent = ledgers.byId.get(duplicate.id);
        violations.push(sent === undefined ? `${key}, not acknowledged` : told(sent, duplicate.place));
      }
    }
  }
  return { name: "no duplicate without a fault that explains it", counts: `${explained} explained, ${violations.length} not`, violations };
}

/** Something broke between the first arrival and its copy; of what is pulled, between the sending and the copy. */
function isExplained(ledgers: Ledgers, first: Arrival, duplicate: Arrival): boolean {
  const pulled = first.signed === undefined;
  const fromMs = pulled ? (ledgers.byId.get(first.id)?.firstSentAtMs ?? 0) : first.atMs;
  return faultWithin(ledgers, pulled ? ["kill", "stop", "sqs"] : ["kill", "stop"], fromMs, duplicate.atMs);
}

/** At an ordered endpoint no message of a topic, or of its colour there, comes before the one ahead of it was taken, or given up. */
function checkOrder({ ledgers, history }: Evidence, told: Describe): Check {
  const violations: string[] = [];
  let compared = 0;
  for (const { label, orderedByColour } of [...ledgers.endpoints.values()].filter(({ ordered }) => ordered)) {
    const arrivals = Map.groupBy(ledgers.arrivals.filter((arrival) => arrival.label === label), ({ id }) => id);
    const sent = acknowledgedOf(ledgers).filter(({ id, offset }) => offset !== null && arrivals.has(id ?? ""));
    for (const lane of Map.groupBy(sent, ({ what, colour }) => (orderedByColour ? `${what} ${colour}` : what)).values()) {
      lane.sort((a, b) => (a.offset ?? 0) - (b.offset ?? 0));
      lane.forEach((message, index) => {
        const ahead = lane[index - 1];
        if (ahead === undefined) return;
        compared++;
        const cameAtMs = arrivals.get(message.id ?? "")?.[0]?.atMs ?? 0;
        const takenAtMs = arrivals.get(ahead.id ?? "")?.find(({ succeeded }) => succeeded !== false)?.atMs;
        const inTurn = takenAtMs === undefined ? deliveryAt(ledgers, history.get(ahead), label)?.status === "dead" : takenAtMs <= cameAtMs;
        if (!inTurn) violations.push(`${told(message, label)}\nbefore ${told(ahead, label)}`);
      });
    }
  }
  return { name: "order is kept where it was promised", counts: `${compared} pairs`, violations };
}

function checkDeleted({ ledgers }: Evidence): Check {
  const deleted = [...ledgers.endpoints.values()].filter(({ deletedAtMs }) => deletedAtMs !== null);
  const violations = ledgers.arrivals.flatMap(({ label, id, signed, atMs }) => {
    const deletedAtMs = ledgers.endpoints.get(label)?.deletedAtMs ?? null;
    if (deletedAtMs === null || signed === undefined || atMs <= deletedAtMs) return [];
    const signedAtMs = earliestReal(ledgers, signed.timestampMs, atMs);
    // The second it was signed in began after the answer: it was not under way then.
    if (signedAtMs <= deletedAtMs) return [];
    return [`${id} at ${label}: deleted ${new Date(deletedAtMs).toISOString()}, signed ${new Date(signedAtMs).toISOString()}`];
  });
  return { name: "no request to an endpoint after its deletion was acknowledged", counts: `${deleted.length} deleted`, violations };
}

function checkSignatures({ ledgers }: Evidence): Check {
  const pushed = ledgers.arrivals.filter(({ signed, hash }) => signed !== undefined && hash !== null);
  const violations = pushed.flatMap((arrival) => {
    const endpoint = ledgers.endpoints.get(arrival.label);
    const fault = endpoint === undefined ? null : signatureFault(ledgers, endpoint, arrival);
    return fault === null ? [] : [`${arrival.id} at ${arrival.label} ${new Date(arrival.atMs).toISOString()}: ${fault}`];
  });
  const secrets = [...ledgers.endpoints.values()].reduce((sum, endpoint) => sum + endpoint.secrets.length, 0);
  return { name: "every signature verifies with a secret valid at the time", counts: `${pushed.length} verified, ${secrets} secrets`, violations };
}

const SETTLED_AFTER_MS = 2_500;

function signatureFault(ledgers: Ledgers, { secrets }: EndpointEntry, { atMs, signed }: Arrival): string | null {
  if (signed === undefined) return null;
  const { by } = signed;
  if (by.length === 0) return "no secret it ever had";
  const timestampMs = earliestReal(ledgers, signed.timestampMs, atMs);
  // When an overlap ends is a time of the gateway's clock.
  const expired = by.find(({ fromMs, untilMs }) => untilMs + widestJump(ledgers, fromMs, atMs) < timestampMs);
  if (expired !== undefined) return `signed with a secret that ended ${new Date(expired.untilMs).toISOString()}`;
  // The newest that was in force for long enough, if none was on its way since.
  const newest = secrets.findLast(({ fromMs }) => fromMs < atMs);
  const settledAtMs = newest?.acknowledgedAtMs ?? null;
  if (newest === undefined || settledAtMs === null || timestampMs < settledAtMs + SETTLED_AFTER_MS) return null;
  return by.includes(newest) ? null : "not signed with the newest secret";
}

function checkHistory({ ledgers, history }: Evidence, told: Describe): Check {
  const counts = { delivered: 0, dead: 0, cancelled: 0, open: 0 };
  const found: { readonly text: string; readonly nthOfKind: number }[] = [];
  const kinds = new Map<string, number>();
  const arrivedAt = Map.groupBy(ledgers.arrivals, ({ id }) => id);
  for (const [sent, deliveries] of history) {
    const arrivals = arrivedAt.get(sent.id ?? "") ?? [];
    const fault = deliveries === null ? "history does not know it" : historyFault(ledgers, sent, deliveries, arrivals);
    if (fault !== null) {
      const nthOfKind = (kinds.get(fault) ?? 0) + 1;
      kinds.set(fault, nthOfKind);
      found.push({ text: `${fault}: ${told(sent)}`, nthOfKind });
    }
    for (const { status } of deliveries ?? []) counts[status]++;
  }
  // One of each kind comes first.
  const violations = found.sort((a, b) => a.nthOfKind - b.nthOfKind).map(({ text }) => text);
  const counted = [...Object.entries(counts), ...kinds].map(([what, count]) => `${count} ${what}`);
  return { name: "history agrees", counts: counted.join(", "), violations };
}

function historyFault(ledgers: Ledgers, sent: Sent, deliveries: readonly HistoryDelivery[], arrivals: readonly Arrival[]): string | null {
  for (const delivery of deliveries) {
    const endpoint = [...ledgers.endpoints.values()].find(({ id }) => id === delivery.target);
    const place = endpoint?.label ?? sent.places.find((one) => one === delivery.target || placeOfShared(delivery.target, one));
    if (place === undefined) continue; // an endpoint that may have matched, and whose creation was not answered
    if (delivery.status === "open") return `open at ${place}`;
    const here = arrivals.filter((arrival) => arrival.place === place);
    const succeeded = here.find((arrival) => arrival.succeeded === true);
    if (delivery.status === "cancelled" && (endpoint?.deleteSentAtMs ?? null) === null) return `cancelled at ${place}, which was not deleted`;
    if (delivery.status === "dead" && succeeded !== undefined && !faultWithin(ledgers, ["kill", "stop", "sqs"], succeeded.atMs, Date.now())) {
      return `dead at ${place}, where it arrived`;
    }
    // What went into a mailbox that was deleted was not pulled; what a queue got may still be on its way out of it.
    const mayHaveBeenSeen = here.some((arrival) => arrival.succeeded !== false) || endpoint?.kind === "pull" && endpoint.deleteSentAtMs !== null;
    if (delivery.status === "delivered" && !mayHaveBeenSeen) return `delivered at ${place}, where no 2xx was given`;
  }
  const absent = sent.places.find((place) => (ledgers.endpoints.get(place)?.deleteSentAtMs ?? null) === null && deliveryAt(ledgers, deliveries, place) === undefined);
  if (absent !== undefined) return `no delivery for ${absent}`;
  return null;
}

function checkPulled({ unsettled }: Evidence): Check {
  const left = unsettled.flatMap(({ place, receivesById, deadLetters }) =>
    [...receivesById].map(([id, receives]) => ({ place, id, receives, dead: deadLetters.has(id) })),
  );
  const lost = left.filter(({ dead }) => !dead);
  return {
    name: "every message of a mailbox was acknowledged in the end",
    counts: `${left.length - lost.length} dead letters, ${lost.length} left`,
    violations: lost.map(({ id, place, receives }) => `${id} at ${place} never came back after ${receives} receives`),
  };
}
