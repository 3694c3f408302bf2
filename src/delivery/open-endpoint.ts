import { z } from "zod";
import type { KeyRing } from "../crypto/keyring.ts";
import type { EndpointWithSecrets } from "../storage/endpoints.ts";
import { importPrivateKey } from "./ed25519-key.ts";
import { EndpointAuth } from "./endpoint-auth.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { importSigningKey } from "./signing-secret.ts";

const MAX_OPENED = 20_000;
const SECONDS_PER_MINUTE = 60;

const CustomHeaders = z.record(z.string(), z.string());

/**
 * What this isolate opened lately, by its sealed text: an endpoint that did not change costs no cryptography. Holds
 * values, never promises, for a request may not wait for another one's. The sealed text is authenticated with its row,
 * and comes from that row alone, so it stands for the context too.
 */
const openedKeys = new Map<string, CryptoKey>();
const openedHeaders = new Map<string, Readonly<Record<string, string>>>();
const openedAuth = new Map<string, EndpointAuth>();

/**
 * Opens an endpoint for delivery: its secrets as signing keys, the current one first, its own headers and credentials.
 * Throws when a value was not sealed for its row under a key of the ring, and for one without a secret or the key it
 * asks for: nothing goes out unsigned.
 */
export async function openDeliveryEndpoint(row: EndpointWithSecrets, keyRing: KeyRing): Promise<DeliveryEndpoint> {
  const [headers, auth, asymmetricKey, ...signingKeys] = await Promise.all([
    openHeaders(row, keyRing),
    openAuth(row, keyRing),
    row.signingKey === null ? null : openKey(row.signingKey.sealed, `${row.tenant_id}/${row.signingKey.id}`, keyRing, importPrivateKey),
    ...row.secrets.map((secret) => openKey(secret.sealed, `${row.tenant_id}/${secret.id}`, keyRing)),
  ]);
  if (signingKeys.length === 0 && row.kind === "push") throw new Error(`endpoint ${row.id} has no signing secret`);
  if (asymmetricKey === null && row.asymmetric) throw new Error(`endpoint ${row.id} has no asymmetric key`);
  return {
    id: row.id,
    tenantId: row.tenant_id,
    kind: row.kind,
    url: row.url ?? "",
    status: row.status === "active" && row.handshake === "waiting" ? "unallowed" : row.status,
    ...(row.request_origin === null ? {} : { requestOrigin: row.request_origin }),
    format: row.format,
    headers,
    signingKeys,
    ...(asymmetricKey === null ? {} : { asymmetricKey }),
    ...(auth === null ? {} : { auth }),
    timeoutSeconds: row.timeout_seconds,
    retryScheduleSeconds: row.retry_schedule,
    rateLimit: effectiveRate(row),
    ...(row.max_concurrency === null ? {} : { maxConcurrency: row.max_concurrency }),
    ordered: row.ordered,
    ...(row.ordering_key === null ? {} : { orderingKey: row.ordering_key }),
    fallback: row.fallback,
    failingSinceMs: row.failing_since,
  };
}

/** A second; of its own limit and what its receiver allows a minute, the lower. */
function effectiveRate({ rate_limit: own, allowed_rate: allowed }: EndpointWithSecrets): number | null {
  return allowed === null ? own : Math.min(own ?? Number.POSITIVE_INFINITY, allowed / SECONDS_PER_MINUTE);
}

/** The custom headers of an endpoint in clear, names in lower case. */
export async function openHeaders(
  row: { readonly id: string; readonly tenant_id: string; readonly headers: string | null },
  keyRing: KeyRing,
): Promise<Readonly<Record<string, string>>> {
  if (row.headers === null) return {};
  const known = openedHeaders.get(row.headers);
  if (known !== undefined) return known;
  const text = await keyRing.open(row.headers, `${row.tenant_id}/${row.id}`);
  return remember(openedHeaders, row.headers, CustomHeaders.parse(JSON.parse(text)));
}

/** The credentials of an endpoint in clear: the same object as long as they do not change. */
export async function openAuth(
  row: { readonly id: string; readonly tenant_id: string; readonly auth: string | null },
  keyRing: KeyRing,
): Promise<EndpointAuth | null> {
  if (row.auth === null) return null;
  const known = openedAuth.get(row.auth);
  if (known !== undefined) return known;
  const text = await keyRing.open(row.auth, `${row.tenant_id}/${row.id}`);
  return remember(openedAuth, row.auth, EndpointAuth.parse(JSON.parse(text)));
}

async function openKey(
  sealed: string,
  context: string,
  keyRing: KeyRing,
  importKey: (text: string) => Promise<CryptoKey> = importSigningKey,
): Promise<CryptoKey> {
  return openedKeys.get(sealed) ?? remember(openedKeys, sealed, await importKey(await keyRing.open(sealed, context)));
}

function remember<Value>(opened: Map<string, Value>, sealed: string, value: Value): Value {
  const oldest = opened.keys().next();
  if (opened.size >= MAX_OPENED && !oldest.done) opened.delete(oldest.value);
  opened.set(sealed, value);
  return value;
}
