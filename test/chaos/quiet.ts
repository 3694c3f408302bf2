import { setTimeout as delay } from "node:timers/promises";
import type { Ledgers, Sent } from "./ledgers.ts";
import { ask, insist, type World } from "./world.ts";

/** Nothing came for this long: it is quiet, if nothing is expected any more. */
const QUIET_MS = 2_000;
/** The same where something that was pulled may still come back: longer than it stays invisible. */
const PULLED_QUIET_MS = 6_000;
const PAGE = 250;
const LOOK_EVERY_MS = 500;

/** A message that must still come somewhere. */
export type Missing = { readonly sent: Sent; readonly place: string };

/** Finds the endpoints whose creation was not answered, and lets those flow that are paused or disabled. */
export async function healEndpoints(world: World): Promise<void> {
  for (let cursor: string | null = null; ; ) {
    const page: any = (await insist(world, "GET", `/v1/endpoints?limit=${PAGE}${cursor === null ? "" : `&cursor=${cursor}`}`)).json;
    for (const { id, name, status } of page.data) {
      const entry = world.ledgers.endpoints.get(name);
      if (entry !== undefined) entry.id ??= id;
      if (status === "paused") await insist(world, "POST", `/v1/endpoints/${id}/resume`);
      if (status === "disabled") await insist(world, "POST", `/v1/endpoints/${id}/enable`);
    }
    cursor = page.next;
    if (cursor === null) return;
  }
}

/** Sends again what a subscriber held back for up to a day by its `Retry-After`. */
export async function resendHeldBack(world: World, heldBack: ReadonlySet<string>): Promise<void> {
  const { ledgers } = world;
  // The last one counts: a success before it may have been forgotten with a kill.
  const last = new Map(ledgers.arrivals.map((arrival) => [`${arrival.label} ${arrival.id}`, arrival.succeeded]));
  for (const key of heldBack) {
    const [label = "", id = ""] = key.split(" ");
    const endpoint = ledgers.endpoints.get(label);
    if (last.get(key) === true || endpoint?.id === undefined || endpoint.deleteSentAtMs !== null) continue;
    ledgers.resent.add(`${endpoint.place} ${id}`);
    const topic = endpoint.patterns.length > 0 ? { endpointId: endpoint.id } : {};
    await insist(world, "POST", `/v1/messages/${encodeURIComponent(id)}/resend`, { body: topic });
  }
}

/** What was acknowledged, must be somewhere that is still there, and has not come there. */
export function missing({ sent, arrivals, endpoints }: Ledgers): Missing[] {
  const come = new Set(arrivals.map(({ place, id }) => `${place} ${id}`));
  return sent
    .filter(({ acknowledgedAtMs }) => acknowledgedAtMs !== null)
    .flatMap((one) => one.places.map((place) => ({ sent: one, place })))
    .filter(({ sent: { id }, place }) => !come.has(`${place} ${id}`))
    .filter(({ place }) => (endpoints.get(place)?.deleteSentAtMs ?? null) === null);
}

/** How often it is said what is waited for. */
const SAY_EVERY_MS = 15_000;

export type QuietOptions = {
  readonly timeoutMs: number;
  readonly say: (line: string) => void;
  /** Whether something was pulled that nobody is done with. */
  readonly isPulledOpen: () => boolean;
};

/** Waits until everything has come and nothing comes any more; false when that is not so in time. */
export async function awaitQuiet(world: World, { timeoutMs, say, isPulledOpen }: QuietOptions): Promise<boolean> {
  const { ledgers } = world;
  const deadline = Date.now() + timeoutMs;
  let sayAtMs = Date.now() + SAY_EVERY_MS;
  const dead = new Set<Missing["sent"]>();
  while (Date.now() < deadline) {
    await delay(LOOK_EVERY_MS);
    const lastAtMs = ledgers.arrivals.at(-1)?.atMs ?? 0;
    if (Date.now() - lastAtMs < (isPulledOpen() ? PULLED_QUIET_MS : QUIET_MS)) continue;
    const open = missing(ledgers).filter(({ sent }) => !dead.has(sent));
    if (open.length === 0) return true;
    if (Date.now() > sayAtMs) {
      const first = open.slice(0, 3).map(({ sent: { id, what }, place }) => `${id} on ${what} at ${place}`);
      say(`waiting for ${open.length}: ${first.join("; ")}`);
      sayAtMs = Date.now() + SAY_EVERY_MS;
    }
    // What is dead by now will not come: history says so.
    for (const { sent } of open.slice(0, 20)) {
      const said = await ask(world, "GET", `/v1/messages/${encodeURIComponent(sent.id ?? "")}/deliveries`);
      const deliveries: any[] = said?.json?.data ?? [];
      if (deliveries.length > 0 && deliveries.every(({ status }) => status !== "open")) dead.add(sent);
    }
    await healEndpoints(world);
  }
  return false;
}
