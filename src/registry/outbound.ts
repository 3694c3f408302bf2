import { checkPushUrl } from "../delivery/address-guard.ts";
import { generateKeyPair } from "../delivery/ed25519-key.ts";
import type { EndpointAuth } from "../delivery/endpoint-auth.ts";
import { newId } from "../ids.ts";
import { insertSigningKey, listSigningKeys } from "../storage/signing-keys.ts";
import type { Fault, Refusal } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

/** What an endpoint is to be told of the outside, as far as it is given. */
export type OutboundWishes = {
  readonly url?: string | null | undefined;
  readonly auth?: EndpointAuth | null | undefined;
  readonly asymmetric?: boolean | undefined;
};

/**
 * Why the authentication can not be accepted: the token endpoint's address as it is written, or a certificate that is
 * not the tenant's to name. That one is listed for another tenant is not said.
 *
 * @param url the one the endpoint has, or is to have
 */
export function authFaults(
  { guard, certificates, tenantId }: Pick<RegistryWorld, "guard" | "certificates" | "tenantId">,
  auth: EndpointAuth | null | undefined,
  url: string | null,
): Fault[] {
  switch (auth?.kind) {
    case undefined:
      return [];
    case "oauth2": {
      const checked = checkPushUrl(auth.tokenUrl, guard);
      return checked.ok ? [] : [{ pointer: "/auth/tokenUrl", detail: checked.detail }];
    }
    case "mtls": {
      if ((certificates?.fetchWith(tenantId, auth.certificate) ?? null) === null) {
        return [{ pointer: "/auth/certificate", detail: "is none that an operator has listed: ask them for its name" }];
      }
      const isHttps = url !== null && URL.parse(url)?.protocol === "https:";
      return isHttps ? [] : [{ pointer: "/auth/certificate", detail: "is presented over https only: give an https URL" }];
    }
  }
}

/** Judges what the names of accepted URLs resolve to, where names are resolved; null when they may be reached. */
export async function nameRefusal({ guard, dns }: RegistryWorld, { url, auth }: OutboundWishes): Promise<Refusal | null> {
  if (dns === undefined) return null;
  const faults: Fault[] = [];
  for (const [pointer, text] of [["/url", url], ["/auth/tokenUrl", auth?.kind === "oauth2" ? auth.tokenUrl : null]] as const) {
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
  auth: EndpointAuth | null,
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
