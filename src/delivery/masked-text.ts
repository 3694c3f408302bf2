import type { DeliveryEndpoint } from "./endpoint.ts";

const MASK = "***";
/** Shorter values are no secrets, and would mask what they happen to be part of. */
const MIN_SECRET_CHARACTERS = 8;

/**
 * A response's text for history, without what the request was authenticated with: some endpoints answer with the
 * request they got, and history must hold no secret. Values are masked as they were sent, with and without a scheme.
 */
export function withoutSecrets(text: string, endpoint: DeliveryEndpoint, token: string | null): string {
  const sent = [...Object.values(endpoint.headers), ...(token === null ? [] : [token])];
  const secrets = sent
    .flatMap((value) => [value, value.slice(value.indexOf(" ") + 1)])
    .flatMap((value) => [value, JSON.stringify(value).slice(1, -1)])
    .filter((value) => value.length >= MIN_SECRET_CHARACTERS);
  // the longest first: one may be part of another
  return [...new Set(secrets)].sort((a, b) => b.length - a.length).reduce((masked, secret) => masked.replaceAll(secret, MASK), text);
}
