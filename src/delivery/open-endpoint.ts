import { z } from "zod";
import type { KeyRing } from "../crypto/keyring.ts";
import type { EndpointWithSecrets } from "../storage/endpoints.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { importSigningKey } from "./signing-secret.ts";

const MAX_OPENED = 20_000;

const CustomHeaders = z.record(z.string(), z.string());

/**
 * What this isolate opened lately, by its sealed text: an endpoint that did not change costs no cryptography. Holds
 * values, never promises, for a request may not wait for another one's. The sealed text is authenticated with its row,
 * and comes from that row alone, so it stands for the context too.
 */
const openedKeys = new Map<string, CryptoKey>();
const openedHeaders = new Map<string, Readonly<Record<string, string>>>();

/**
 * Opens an endpoint for delivery: its secrets as signing keys, the current one first, and its own headers. Throws when
 * a value was not sealed for its row under a key of the ring, and for one without a secret: nothing goes out unsigned.
 */
export async function openDeliveryEndpoint(row: EndpointWithSecrets, keyRing: KeyRing): Promise<DeliveryEndpoint> {
  const [headers, ...signingKeys] = await Promise.all([
    openHeaders(row, keyRing),
    ...row.secrets.map((secret) => openKey(secret.sealed, `${row.tenant_id}/${secret.id}`, keyRing)),
  ]);
  if (signingKeys.length === 0 && row.kind === "push") throw new Error(`endpoint ${row.id} has no signing secret`);
  return {
    id: row.id,
    tenantId: row.tenant_id,
    kind: row.kind,
    url: row.url ?? "",
    status: row.status,
    format: row.format,
    headers,
    signingKeys,
    timeoutSeconds: row.timeout_seconds,
    retryScheduleSeconds: row.retry_schedule,
    ordered: row.ordered,
    fallback: row.fallback,
    failingSinceMs: row.failing_since,
  };
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

async function openKey(sealed: string, context: string, keyRing: KeyRing): Promise<CryptoKey> {
  return openedKeys.get(sealed) ?? remember(openedKeys, sealed, await importSigningKey(await keyRing.open(sealed, context)));
}

function remember<Value>(opened: Map<string, Value>, sealed: string, value: Value): Value {
  const oldest = opened.keys().next();
  if (opened.size >= MAX_OPENED && !oldest.done) opened.delete(oldest.value);
  opened.set(sealed, value);
  return value;
}
