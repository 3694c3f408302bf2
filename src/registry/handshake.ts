import { toBase64Url } from "../crypto/base64.ts";
import { sha256Hex } from "../crypto/digest.ts";
import type { KeyRing } from "../crypto/keyring.ts";
import type { AttemptWorld } from "../delivery/attempt.ts";
import { openAuth } from "../delivery/open-endpoint.ts";
import { parseAllowedRate, requestPermission } from "../delivery/permission.ts";
import type { AuditEntry } from "../storage/audit.ts";
import { type EndpointWithTopics, findEndpoint } from "../storage/endpoints.ts";
import { allowDeliveries, type Allowance, claimHandshake, type DueHandshake, findCallback, noteRefusal, openCallback } from "../storage/handshakes.ts";

/** What asking a receiver for permission needs of the outside. */
export type HandshakeWorld = {
  readonly db: D1Database;
  readonly keyRing: KeyRing;
  readonly attempts: AttemptWorld;
};

/** Below it, the key of a callback: whoever has it says yes for the receiver. */
export const CALLBACK_PATH = "/handshakes/";

const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const SECONDS_PER_MINUTE = 60;
/** After each request that brought nothing; after the last one it is asked no more by itself. */
const WAITS_MS = [1, 5, 15, 60, 240, 720, 1440, 1440].map((minutes) => minutes * MINUTE_MS);
/** A person finds the callback in a log, the next working day perhaps. */
const CALLBACK_LIFETIME_MS = 7 * 24 * HOUR_MS;
const KEY_BYTES = 24;
const KEY = /^[A-Za-z0-9_-]{32}$/;

/**
 * Asks the receiver of an endpoint for permission, and notes what came of it; true when it has it now. With `due` only
 * if its time has come and nobody else is at it.
 */
export async function askForPermission(world: HandshakeWorld, handshake: DueHandshake, due: boolean): Promise<boolean> {
  const { db, keyRing, attempts } = world;
  const { tenantId, endpointId } = handshake;
  const nowMs = attempts.now();
  const claimed = await claimHandshake(db, handshake, { nowMs, nextAtMs: (requests) => nextAtMs(requests, nowMs), due });
  const endpoint = claimed === null ? null : await findEndpoint(db, tenantId, endpointId);
  if (claimed === null || endpoint === null) return false;
  const { url, request_origin: origin } = endpoint;
  if (url === null || origin === null) return false;
  const key = toBase64Url(crypto.getRandomValues(new Uint8Array(KEY_BYTES)));
  await openCallback(db, endpointId, { hash: await sha256Hex(key), url, nowMs, expiresAtMs: nowMs + CALLBACK_LIFETIME_MS });
  const callbackUrl = `${claimed.gatewayUrl}${CALLBACK_PATH}${key}`;
  const request = { tenantId, url, auth: await openAuth(endpoint, keyRing), origin, callbackUrl, requestsPerMinute: perMinute(endpoint.rate_limit) };
  const permission = await requestPermission(request, attempts);
  if (!permission.ok) {
    await noteRefusal(db, endpointId, permission.detail);
    return false;
  }
  const allowance = { tenantId, endpointId, url, requestsPerMinute: permission.requestsPerMinute, callbackHash: null, nowMs: attempts.now() };
  return allowDeliveries(db, allowance, allowedEntry(allowance, { requestId: "gateway", ip: null }));
}

/** What a callback came to. */
export type Granted =
  | { readonly ok: true; readonly handshake: DueHandshake }
  | { readonly ok: false; readonly code: "no-such-callback" | "malformed-rate" };

/** Notes the permission that a receiver gives by its callback: once, for the URL that was asked. */
export async function grantByCallback(
  db: D1Database,
  callback: { readonly key: string; readonly rate: string | null; readonly requestId: string; readonly ip: string | null },
  nowMs: number,
): Promise<Granted> {
  const hash = KEY.test(callback.key) ? await sha256Hex(callback.key) : null;
  const found = hash === null ? null : await findCallback(db, hash, nowMs);
  if (found === null) return { ok: false, code: "no-such-callback" };
  const requestsPerMinute = parseAllowedRate(callback.rate, perMinute(found.rateLimit));
  if (requestsPerMinute === undefined) return { ok: false, code: "malformed-rate" };
  const { tenantId, endpointId, url } = found;
  const allowance = { tenantId, endpointId, url, requestsPerMinute, callbackHash: hash, nowMs };
  if (!(await allowDeliveries(db, allowance, allowedEntry(allowance, callback)))) return { ok: false, code: "no-such-callback" };
  return { ok: true, handshake: { tenantId, endpointId } };
}

/** What a change makes of the handshake of an endpoint: another URL is another receiver. */
export function handshakeChange(
  current: Pick<EndpointWithTopics, "handshake" | "url">,
  patch: { readonly handshake?: boolean | undefined; readonly url?: string | null | undefined },
): "begin" | "end" | "none" {
  const isWanted = patch.handshake ?? current.handshake !== null;
  if (!isWanted) return current.handshake === null ? "none" : "end";
  const isNew = current.handshake === null || (patch.url !== undefined && patch.url !== current.url);
  return isNew ? "begin" : "none";
}

/** The name under which the gateway asks: that of the host it is reached at. */
export function originOf(gatewayUrl: string): string {
  return new URL(gatewayUrl).hostname;
}

function nextAtMs(requests: number, nowMs: number): number | null {
  const waitMs = WAITS_MS[requests - 1];
  return waitMs === undefined ? null : nowMs + waitMs;
}

/** The rate of an endpoint as the specification counts it. */
function perMinute(ratePerSecond: number | null): number | null {
  return ratePerSecond === null ? null : Math.max(1, Math.floor(ratePerSecond * SECONDS_PER_MINUTE));
}

function allowedEntry(
  { tenantId, endpointId, url, requestsPerMinute, nowMs }: Allowance,
  { requestId, ip }: { readonly requestId: string; readonly ip: string | null },
): AuditEntry {
  const after = { handshakeStatus: "allowed", url, allowedRatePerMinute: requestsPerMinute };
  return { tenantId, timeMs: nowMs, actor: "receiver", action: "endpoint.allow", target: endpointId, after, requestId, ip };
}
