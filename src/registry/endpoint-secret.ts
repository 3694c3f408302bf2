import { generateSigningSecret } from "../delivery/signing-secret.ts";
import { newId } from "../ids.ts";
import { findCurrentSecret, rotateSecret } from "../storage/endpoint-secrets.ts";
import { accept, type Outcome, refuse } from "./refusal.ts";
import type { RegistryWorld } from "./world.ts";

export const DEFAULT_OVERLAP_SECONDS = 86_400;
export const MAX_OVERLAP_SECONDS = 604_800;

/** The current signing secret in clear. */
export async function revealSecret(
  { db, keyRing, tenantId }: Pick<RegistryWorld, "db" | "keyRing" | "tenantId">,
  endpointId: string,
): Promise<Outcome<string>> {
  const current = await findCurrentSecret(db, tenantId, endpointId);
  if (current === null) return refuse({ code: "no-such-endpoint" });
  return accept(await keyRing.open(current.sealed, `${tenantId}/${current.id}`));
}

/** Makes `secret`, or a new one, the current; the one before signs beside it for the overlap. */
export async function rotateEndpointSecret(
  world: RegistryWorld,
  endpointId: string,
  input: { readonly secret?: string | undefined; readonly overlapSeconds: number },
): Promise<Outcome<{ readonly secret: string; readonly previousExpiresAtMs: number }>> {
  const { db, keyRing, tenantId, nowMs } = world;
  const current = await findCurrentSecret(db, tenantId, endpointId);
  if (current === null) return refuse({ code: "no-such-endpoint" });
  const secret = input.secret ?? generateSigningSecret();
  const id = newId("sec", nowMs);
  const previousExpiresAtMs = nowMs + input.overlapSeconds * 1000;
  const rotated = await rotateSecret(
    db,
    tenantId,
    endpointId,
    { id, sealed: await keyRing.seal(secret, `${tenantId}/${id}`), createdAtMs: nowMs },
    previousExpiresAtMs,
    [
      world.audit({
        action: "secret.rotate",
        target: endpointId,
        before: { id: current.id },
        after: { id, previousExpiresAt: new Date(previousExpiresAtMs).toISOString() },
      }),
    ],
  );
  return rotated ? accept({ secret, previousExpiresAtMs }) : refuse({ code: "no-such-endpoint" });
}
