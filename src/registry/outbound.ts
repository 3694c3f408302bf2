import { checkPushUrl } from "../delivery/address-guard.ts";
import { generateKeyPair } from "../delivery/ed25519-key.ts";
import type { OAuth2Credentials } from "../delivery/endpoint-auth.ts";
import { newId } from "../ids.ts";
import { insertSigningKey, listSigningKeys } from "../storage/signing-keys.ts";
import type { Fault, Refusal } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

/** What an endpoint is to be told of the outside, as far as it is given. */
export type OutboundWishes = {
  readonly url?: string | null | undefined;
  readonly auth?: OAuth2Credentials | null | undefined;
  readonly asymmetric?: boolean | undefined;
};

/** Why the token endpoint's address can not be accepted as it is written. */
export function authFaults({ guard }: Pick<RegistryWorld, "guard">, auth: OAuth2Credentials | null | undefined): Fault[] {
  if (auth === undefined || auth === null) return [];
  const checked = checkPushUrl(auth.tokenUrl, guard);
  return checked.ok ? [] : [{ pointer: "/auth/tokenUrl", detail: checked.detail }];
}

/** Judges what the names of accepted URLs resolve to, where names are resolved; null when they may be reached. */
export async function nameRefusal({ guard, dns }: RegistryWorld, { url, auth }: OutboundWishes): Promise<Refusal | null> {
  if (dns === undefined) return null;
  const faults: Fault[] = [];
  for (const [pointer, text] of [["/url", url], ["/auth/tokenUrl", auth?.tokenUrl]] as const) {
    const parsed = text === undefined || text === null ? null : URL.parse(text);
    if (parsed === null) continue;
    const name = await dns.check(parsed, guard);
    if (name.ok) continue;
    if (name.reason === "unresolved") return { code: "name-unresolved", detail: name.detail };
    faults.push({ pointer, detail: name.detail });
  }
  return faults.length > 0 ? { code: "invalid", faults } : null;
}

/** Credentials as they are stored; null when there are none. */
export async function sealAuth(
  keyRing: RegistryWorld["keyRing"],
  tenantId: string,
  endpointId: string,
  auth: OAuth2Credentials | null,
): Promise<string | null> {
  return auth === null ? null : keyRing.seal(JSON.stringify(auth), `${tenantId}/${endpointId}`);
}

/** Makes the key pair of the tenant where the endpoint is the first to ask for it. */
export async function signingKeyStatements(world: RegistryWorld, asymmetric: boolean | undefined): Promise<D1PreparedStatement[]> {
  const { db, keyRing, tenantId, nowMs } = world;
  if (asymmetric !== true || (await listSigningKeys(db, tenantId)).length > 0) return [];
  const { publicKey, privateKey } = await generateKeyPair();
  const id = newId("key", nowMs);
  const sealed = await keyRing.seal(privateKey, `${tenantId}/${id}`);
  return [
    insertSigningKey(db, tenantId, { id, publicKey, sealed }, nowMs),
    world.audit({ action: "signing-key.create", target: id, after: { publicKey } }),
  ];
}
