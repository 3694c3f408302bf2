import { releaseResumed } from "../delivery/release.ts";
import { changedAddresses, releaseAddresses } from "../delivery/release-addresses.ts";
import { describeError, log } from "../log.ts";
import { findEndpointAddresses } from "../storage/endpoints.ts";
import { type DueHandshake, listDueHandshakes } from "../storage/handshakes.ts";
import { askForPermission, type HandshakeWorld } from "./handshake.ts";

/** Each may take as long as its deadline; what is left is due at the next run as well. */
const MAX_PER_RUN = 24;
/** A Worker has six connections at once. */
const PARALLEL = 4;

/** Asks a receiver now, and lets flow what waited if it says yes. Never throws: what fails is due again. */
export async function askAndRelease(env: Cloudflare.Env, world: HandshakeWorld, handshake: DueHandshake, due: boolean): Promise<void> {
  try {
    if (await askForPermission(world, handshake, due)) await releaseAllowed(env, handshake);
  } catch (error) {
    log("warn", "handshake.failed", { endpointId: handshake.endpointId, error: describeError(error) });
  }
}

/** Asks those whose time has come; how many. */
export async function askDueHandshakes(env: Cloudflare.Env, world: HandshakeWorld, nowMs: number): Promise<number> {
  const due = await listDueHandshakes(env.DB, nowMs, MAX_PER_RUN);
  const rest = due.values();
  const work = async (): Promise<void> => {
    for (const handshake of rest) await askAndRelease(env, world, handshake, true);
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return due.length;
}

/** Lets flow what waited for an endpoint until its receiver allowed it: as after a pause. */
export async function releaseAllowed(env: Cloudflare.Env, { tenantId, endpointId }: DueHandshake): Promise<void> {
  const allowedAtMs = Date.now();
  const after = await findEndpointAddresses(env.DB, tenantId, endpointId);
  const before = after === null ? null : ({ ...after, status: "paused" } as const);
  await Promise.all([
    releaseResumed(env, tenantId, endpointId, allowedAtMs),
    releaseAddresses(env, tenantId, changedAddresses(before, after), allowedAtMs),
  ]);
}
