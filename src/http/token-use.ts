import { describeError, log } from "../log.ts";
import { RecentMap } from "../recent-map.ts";
import { recordTokenUse, type Token } from "../storage/tokens.ts";
import type { RequestWorld } from "./request-world.ts";

const INTERVAL_MS = 60_000;
const MAX_TOKENS = 10_000;

/** When this isolate noted the last use of a token, by its id. */
const noted = new RecentMap<number>(MAX_TOKENS);

/** Notes the use of a token once a minute, beside the request: a lost note costs nothing but its minute. */
export function noteUse({ env, inBackground }: RequestWorld, token: Token, nowMs: number): void {
  const lastMs = Math.max(token.lastUsedAtMs ?? 0, noted.get(token.id) ?? 0);
  if (nowMs - lastMs < INTERVAL_MS) return;
  noted.set(token.id, nowMs);
  const write = recordTokenUse(env.DB, token.id, nowMs).catch((error: unknown) =>
    log("error", "the use of a token was not noted", { tokenId: token.id, error: describeError(error) }),
  );
  inBackground(write);
}
