import { setTimeout as delay } from "node:timers/promises";
import type { Sent } from "./ledgers.ts";
import { ask, type World } from "./world.ts";

export type HistoryDelivery = {
  readonly target: string;
  readonly endpointId: string | null;
  readonly status: "open" | "delivered" | "dead" | "cancelled";
  readonly reason: string | null;
  readonly nextAttemptAt: string | null;
  readonly attempts: readonly { readonly time: string; readonly statusCode: number | null; readonly error: string | null }[];
};

/** What history says of each acknowledged message; null where it knows nothing of it. */
export type History = ReadonlyMap<Sent, readonly HistoryDelivery[] | null>;

const AT_ONCE = 8;
/** An attempt whose process was killed is taken for lost after 45 s, and found by the sweep that follows. */
const PATIENCE_MS = 75_000;
const AGAIN_AFTER_MS = 500;

/** Asks for all of them; again for a while where something is still open, for history is about a second behind. */
export async function readHistory(world: World, acknowledged: readonly Sent[]): Promise<History> {
  const history = new Map<Sent, readonly HistoryDelivery[] | null>();
  const deadline = Date.now() + PATIENCE_MS;
  for (let left = acknowledged; left.length > 0; ) {
    const next = left.values();
    await Promise.all(Array.from({ length: AT_ONCE }, async () => {
      for (const sent of next) history.set(sent, await deliveriesOf(world, sent));
    }));
    if (Date.now() > deadline) break;
    await delay(AGAIN_AFTER_MS);
    left = left.filter((sent) => history.get(sent)?.every(({ status }) => status !== "open") !== true);
  }
  return history;
}

async function deliveriesOf(world: World, { id }: Sent): Promise<readonly HistoryDelivery[] | null> {
  const said = await ask(world, "GET", `/v1/messages/${encodeURIComponent(id ?? "")}/deliveries?limit=250`);
  return said?.status === 200 ? said.json.data : null;
}
