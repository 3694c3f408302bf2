import { z } from "zod";
import { toBase64 } from "../crypto/base64.ts";
import { boundedFetch, type Fetch } from "../sns/bounded-fetch.ts";
import { checkPushUrl, type GuardOptions } from "./address-guard.ts";
import type { DnsGuard } from "./dns-guard.ts";

/** OAuth 2.0 client credentials (RFC 6749 §4.4), with which an endpoint's token is fetched. */
export type OAuth2Credentials = {
  readonly kind: "oauth2";
  readonly tokenUrl: string;
  readonly clientId: string;
  readonly clientSecret: string;
  readonly scope: string | null;
};

/** As they are sealed with their endpoint. */
export const OAuth2Credentials: z.ZodType<OAuth2Credentials> = z.object({
  kind: z.literal("oauth2"),
  tokenUrl: z.string(),
  clientId: z.string(),
  clientSecret: z.string(),
  scope: z.string().nullable(),
});

/** TLS client authentication: requests go out through this certificate binding. */
export type MtlsCertificate = { readonly kind: "mtls"; readonly certificate: string };

/** How requests to an endpoint are authenticated, beside its own headers. */
export type EndpointAuth = OAuth2Credentials | MtlsCertificate;

/** As it is sealed with its endpoint. */
export const EndpointAuth: z.ZodType<EndpointAuth> = z.union([
  OAuth2Credentials,
  z.object({ kind: z.literal("mtls"), certificate: z.string() }),
]);

export type AuthWorld = GuardOptions & {
  readonly fetch: Fetch;
  readonly now: () => number;
  readonly dns?: DnsGuard | undefined;
};

/** A token, or a sentence that says why there is none, without any part of the credentials. */
export type Authorization = { readonly ok: true; readonly token: string } | { readonly ok: false; readonly detail: string };

type Known = { readonly authorization: Authorization; readonly untilMs: number };

const MAX_ANSWER_BYTES = 64 * 1024;
const FETCH_DEADLINE_MS = 10_000;
/** Where the server does not say (RFC 6749 §5.1 recommends that it does). */
const DEFAULT_LIFETIME_SECONDS = 300;
const MAX_LIFETIME_SECONDS = 24 * 60 * 60;
/** A token must not run out on its way. */
const MARGIN_MS = 30_000;
/** A server that gives no token is not asked again at once by every attempt that needs one. */
const FAILURE_MS = 1_000;
const POLL_MS = 20;

/** RFC 6749 §5.1; the token in the form that a header can carry (RFC 6750 §2.1). */
const TokenAnswer = z.object({
  access_token: z.string().regex(/^[A-Za-z0-9._~+/-]+=*$/).max(8192),
  token_type: z.string().regex(/^bearer$/i),
  expires_in: z.coerce.number().positive().optional().catch(undefined),
});

/** By the opened credentials, which stay the same object as long as their sealed text does. */
const known = new WeakMap<OAuth2Credentials, Known>();
const fetchingSince = new WeakMap<OAuth2Credentials, number>();

/**
 * The token of an endpoint, fetched when there is none that lasts. One attempt of this isolate fetches and the others
 * look again after a while: a request may not wait for another one's promise.
 */
export async function authorize(credentials: OAuth2Credentials, world: AuthWorld): Promise<Authorization> {
  for (const startedAtMs = world.now(); ; ) {
    const nowMs = world.now();
    const recent = known.get(credentials);
    if (recent !== undefined && nowMs < recent.untilMs) return recent.authorization;
    const sinceMs = fetchingSince.get(credentials);
    if (sinceMs === undefined || nowMs - sinceMs > FETCH_DEADLINE_MS) return fetchAndKeep(credentials, world);
    if (nowMs - startedAtMs > FETCH_DEADLINE_MS) return refuse("The token endpoint did not answer in time.");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

/** After a 401: the next attempt fetches another token. */
export function forgetToken(credentials: OAuth2Credentials): void {
  known.delete(credentials);
}

async function fetchAndKeep(credentials: OAuth2Credentials, world: AuthWorld): Promise<Authorization> {
  const startedAtMs = world.now();
  fetchingSince.set(credentials, startedAtMs);
  try {
    const fetched = await fetchToken(credentials, world);
    const lifetimeMs = fetched.ok ? lifetimeOf(fetched.expiresInSeconds) : FAILURE_MS;
    const authorization: Authorization = fetched.ok ? { ok: true, token: fetched.token } : fetched;
    known.set(credentials, { authorization, untilMs: startedAtMs + lifetimeMs });
    return authorization;
  } finally {
    fetchingSince.delete(credentials);
  }
}

/** Short-lived tokens keep half of their time. */
function lifetimeOf(expiresInSeconds: number | undefined): number {
  const lifetimeMs = Math.min(expiresInSeconds ?? DEFAULT_LIFETIME_SECONDS, MAX_LIFETIME_SECONDS) * 1000;
  return Math.max(lifetimeMs / 2, lifetimeMs - MARGIN_MS);
}

type FetchedToken =
  | { readonly ok: true; readonly token: string; readonly expiresInSeconds: number | undefined }
  | { readonly ok: false; readonly detail: string };

async function fetchToken(credentials: OAuth2Credentials, world: AuthWorld): Promise<FetchedToken> {
  const address = checkPushUrl(credentials.tokenUrl, world);
  if (!address.ok) return refuse(`The token endpoint's address is refused: ${address.detail}`);
  const name = await world.dns?.check(address.url, world);
  if (name?.ok === false) return refuse(`The token endpoint: ${name.detail}`);
  const post: Fetch = (href, init) => world.fetch(href, { ...init, ...tokenRequest(credentials) });
  const fetched = await boundedFetch(post, address.url.href, { maxBytes: MAX_ANSWER_BYTES, deadlineMs: FETCH_DEADLINE_MS });
  if (!fetched.ok) return refuse(`The token endpoint did not answer (${fetched.reason}).`);
  if (fetched.status !== 200) return refuse(`The token endpoint answered ${fetched.status}.`);
  const answer = parseAnswer(fetched.body);
  if (answer === null) return refuse("The token endpoint gave no bearer token.");
  return { ok: true, token: answer.access_token, expiresInSeconds: answer.expires_in };
}

/** Client authentication by HTTP Basic, which every server has to support (RFC 6749 §2.3.1). */
function tokenRequest({ clientId, clientSecret, scope }: OAuth2Credentials): RequestInit {
  const basic = toBase64(new TextEncoder().encode(`${formEncode(clientId)}:${formEncode(clientSecret)}`));
  const form = new URLSearchParams({ grant_type: "client_credentials", ...(scope === null ? {} : { scope }) });
  return {
    method: "POST",
    headers: {
      authorization: `Basic ${basic}`,
      "content-type": "application/x-www-form-urlencoded",
      accept: "application/json",
    },
    body: form.toString(),
  };
}

/** `application/x-www-form-urlencoded` of one text. */
function formEncode(text: string): string {
  return new URLSearchParams([["", text]]).toString().slice(1);
}

function parseAnswer(body: Uint8Array): z.infer<typeof TokenAnswer> | null {
  try {
    return TokenAnswer.safeParse(JSON.parse(new TextDecoder().decode(body))).data ?? null;
  } catch {
    return null; // no JSON, and so no token
  }
}

function refuse(detail: string): { readonly ok: false; readonly detail: string } {
  return { ok: false, detail };
}
