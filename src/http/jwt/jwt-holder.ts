import { type Grant, grantOf } from "../../auth/grant.ts";
import { IssuerKeys } from "../../auth/issuer-keys.ts";
import { type JwtRefusal, verifyJwt } from "../../auth/verify-jwt.ts";
import { isolateOf } from "../../isolate.ts";
import { log } from "../../log.ts";
import type { RequestWorld } from "../request-world.ts";
import { fail } from "../router.ts";

const RETRY_AFTER_SECONDS = "5";

let issuerKeys: IssuerKeys | undefined;

/** What a JWT allows; null when it is none of a configured issuer. 503 when the issuer's keys can not be had. */
export async function holderOfJwt({ env, requestId, inBackground }: RequestWorld, token: string, nowMs: number): Promise<Grant | null> {
  const world = { issuers: isolateOf(env).config.jwtIssuers, keys: keysOf(env), inBackground };
  const verified = await verifyJwt(token, world, nowMs);
  if (!verified.ok) return refuse(requestId, verified.reason);
  return grantOf(verified.issuer, verified.claims) ?? refuse(requestId, "claims");
}

/** The log alone knows the reason: whoever tries tokens out learns nothing from the answer. */
function refuse(requestId: string, reason: JwtRefusal): null {
  log("warn", "a JWT was refused", { requestId, reason });
  if (reason !== "keys-unavailable") return null;
  return fail({
    code: "unavailable",
    detail: "The keys of the token's issuer can not be had right now: try again in a moment.",
    headers: { "retry-after": RETRY_AFTER_SECONDS },
  });
}

function keysOf(env: Cloudflare.Env): IssuerKeys {
  issuerKeys ??= new IssuerKeys({
    fetch: isolateOf(env).world.fetch,
    sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
    onFailure: (issuer, reason) => log("error", "the keys of an issuer could not be fetched", { issuer, reason }),
  });
  return issuerKeys;
}
