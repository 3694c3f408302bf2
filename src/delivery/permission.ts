import { checkPushUrl } from "./address-guard.ts";
import type { AttemptWorld } from "./attempt.ts";
import type { EndpointAuth } from "./endpoint-auth.ts";
import { MAX_READ_BYTES, readBounded } from "./response-body.ts";

/** Who is asked for permission to send, as what. CloudEvents HTTP webhooks §4.1. */
export type PermissionRequest = {
  readonly tenantId: string;
  readonly url: string;
  readonly auth: EndpointAuth | null;
  /** A DNS name that stands for the gateway. */
  readonly origin: string;
  /** Where the receiver may still say yes, later. */
  readonly callbackUrl: string;
  /** Null: as many as there are. */
  readonly requestsPerMinute: number | null;
};

export type Permission =
  /** `requestsPerMinute` null: without a limit. */
  | { readonly ok: true; readonly requestsPerMinute: number | null }
  /** Not given with this answer: `detail` says why. The callback may still bring it. */
  | { readonly ok: false; readonly detail: string };

const DEADLINE_MS = 10_000;
/** A rate that no receiver needs to be kept from: beyond it the number is taken for nonsense. */
const MAX_PER_MINUTE = 1_000_000_000;
const ANY = "*";

/**
 * Asks the receiver of a URL for permission: OPTIONS, within the bounds of every outbound request. Nothing that is
 * secret goes along, for the receiver may not be who it should be; a client certificate does, for without it there may
 * be no connection. Never throws.
 */
export async function requestPermission(request: PermissionRequest, world: AttemptWorld): Promise<Permission> {
  const address = checkPushUrl(request.url, world);
  if (!address.ok) return denied(`The URL is refused: ${address.detail}`);
  const name = await world.dns?.check(address.url, world);
  if (name?.ok === false) return denied(name.detail);
  const { auth, tenantId } = request;
  const fetchWith = auth?.kind === "mtls" ? world.certificates?.fetchWith(tenantId, auth.certificate) : world.fetch;
  if (fetchWith === undefined || fetchWith === null) return denied("The endpoint's client certificate is not there for this tenant.");
  const answer = await ask(address.url, request, fetchWith, world.userAgent);
  return typeof answer === "string" ? denied(answer) : judge(answer, request);
}

/** The head of the answer, or why there is none. */
async function ask(url: URL, request: PermissionRequest, fetchWith: typeof fetch, userAgent: string): Promise<Response | string> {
  const { origin, callbackUrl, requestsPerMinute } = request;
  const abort = new AbortController();
  const timer = setTimeout(() => abort.abort(), DEADLINE_MS);
  try {
    const response = await fetchWith(url.href, {
      method: "OPTIONS",
      headers: {
        "user-agent": userAgent,
        "webhook-request-origin": origin,
        "webhook-request-callback": callbackUrl,
        ...(requestsPerMinute === null ? {} : { "webhook-request-rate": String(requestsPerMinute) }),
      },
      redirect: "manual",
      signal: abort.signal,
    });
    await readBounded(response.body, MAX_READ_BYTES);
    return response;
  } catch {
    // what the network said of it may name what is inside of a network, and helps nobody outside of it
    return abort.signal.aborted ? `No answer to OPTIONS within ${DEADLINE_MS / 1000} s.` : "The connection failed.";
  } finally {
    clearTimeout(timer);
  }
}

/**
 * The headers decide: of what answers OPTIONS in some way, an answer without them is no consent (§4.2). A rate that was
 * asked for and not spoken of counts as granted.
 */
function judge({ status, headers }: Response, request: PermissionRequest): Permission {
  if (status < 200 || status >= 300) return denied(`The receiver answered OPTIONS with ${status}.`);
  const allowedOrigin = headers.get("webhook-allowed-origin")?.trim();
  if (allowedOrigin === undefined) return denied("The answer to OPTIONS has no WebHook-Allowed-Origin.");
  if (allowedOrigin !== ANY && allowedOrigin.toLowerCase() !== request.origin.toLowerCase()) {
    return denied(`WebHook-Allowed-Origin is another than ${request.origin}.`);
  }
  const rate = parseAllowedRate(headers.get("webhook-allowed-rate"), request.requestsPerMinute);
  if (rate === undefined) return denied("WebHook-Allowed-Rate is neither `*` nor a whole number above 0.");
  return { ok: true, requestsPerMinute: rate };
}

/** `WebHook-Allowed-Rate` (§4.2.2) in requests a minute, null for no limit; undefined when it is malformed. */
export function parseAllowedRate(text: string | null, asked: number | null): number | null | undefined {
  if (text === null) return asked;
  const trimmed = text.trim();
  if (trimmed === ANY) return null;
  const rate = /^[0-9]{1,10}$/.test(trimmed) ? Number(trimmed) : 0;
  return rate > 0 && rate <= MAX_PER_MINUTE ? rate : undefined;
}

function denied(detail: string): Permission {
  return { ok: false, detail };
}
