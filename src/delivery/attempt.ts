import type { FillRandom } from "../ids.ts";
import { MAX_BODY_BYTES, type StoredMessage } from "../messages/message.ts";
import { type CheckedUrl, checkPushUrl } from "./address-guard.ts";
import type { ClientCertificates } from "./client-certificates.ts";
import { Deadlines } from "./deadlines.ts";
import type { DnsGuard } from "./dns-guard.ts";
import { authorize, forgetToken, type MtlsCertificate } from "./endpoint-auth.ts";
import type { DeliveryEndpoint } from "./endpoint.ts";
import { withoutSecrets } from "./masked-text.ts";
import type { AttemptError, AttemptRecord } from "./outcome.ts";
import { RecentMap } from "../recent-map.ts";
import { MAX_READ_BYTES, readBounded, textHead } from "./response-body.ts";
import { parseRetryAfter } from "./retry-policy.ts";
import { type RequestContext, webhookRequest } from "./webhook-request.ts";

/** The outside world as an attempt sees it. */
export type AttemptWorld = {
  readonly fetch: typeof fetch;
  readonly now: () => number;
  /** In [0, 1). */
  readonly random: () => number;
  readonly fillRandom: FillRandom;
  readonly userAgent: string;
  readonly allowHosts: ReadonlySet<string>;
  readonly allowHttp: boolean;
  /** Absent where names are not resolved. */
  readonly dns?: DnsGuard | undefined;
  /** Absent where none is bound. */
  readonly certificates?: ClientCertificates | undefined;
};

/** The body of a 2xx response to a query: its answer. */
export type QueryAnswer = { readonly contentType: string; readonly body: Uint8Array };

/** What came of one request, before the retry policy has its say. */
export type AttemptReport = {
  readonly record: AttemptRecord;
  readonly succeeded: boolean;
  /** The endpoint answered 410: it wants nothing more. */
  readonly gone: boolean;
  /** Asked for by a 429 or 503. */
  readonly retryAfterMs: number | null;
  /** Of a query that was answered. */
  readonly answer: QueryAnswer | null;
};

const DEFAULT_ANSWER_TYPE = "application/octet-stream";
const RETRY_AFTER_STATUSES: ReadonlySet<number> = new Set([429, 503]);
const MAX_DETAIL_LENGTH = 200;

/**
 * Makes one attempt: checks the address again, signs, sends, and bounds the answer in time and size. Success is a
 * 2xx head within the endpoint's timeout; a redirect is a failure and is never followed. Never throws.
 */
export async function attemptDelivery(
  endpoint: DeliveryEndpoint,
  message: StoredMessage,
  topic: string,
  attemptNumber: number,
  world: AttemptWorld,
  deadlines: Deadlines = new Deadlines(world.now),
): Promise<AttemptReport> {
  const startedAtMs = world.now();
  const report = (
    statusCode: number | null,
    error: AttemptRecord["error"],
    responseBody: string,
    rest: Partial<AttemptReport> = {},
  ): AttemptReport => ({
    record: {
      startedAtMs,
      durationMs: world.now() - startedAtMs,
      statusCode,
      error,
      responseBody,
    },
    succeeded: error === null,
    gone: false,
    retryAfterMs: null,
    answer: null,
    ...rest,
  });

  const address = checkedUrl(endpoint.url, world);
  if (!address.ok) return report(null, { code: "address-refused", detail: address.detail }, "");

  const access = await accessTo(endpoint, address.url, world);
  if (!access.ok) return report(null, access.error, "");

  const { userAgent, fillRandom } = world;
  const context = { topic, attemptNumber, nowMs: startedAtMs, userAgent, fillRandom, token: access.token };
  const answer = await send(endpoint, address.url, message, context, access.fetch, deadlines);
  if (!answer.ok) return report(null, answer.error, "");

  const { response } = answer;
  const error = statusError(response.status);
  const isAnswer = message.answerByMs !== undefined && error === null;
  const read = await readBounded(response.body, isAnswer ? MAX_BODY_BYTES : MAX_READ_BYTES);
  if (response.status === 401 && endpoint.auth?.kind === "oauth2") forgetToken(endpoint.auth);
  return report(response.status, error, textHead(read, (text) => withoutSecrets(text, endpoint, access.token)), {
    gone: response.status === 410,
    retryAfterMs: RETRY_AFTER_STATUSES.has(response.status)
      ? parseRetryAfter(response.headers.get("retry-after"), world.now())
      : null,
    answer: isAnswer ? { contentType: response.headers.get("content-type") ?? DEFAULT_ANSWER_TYPE, body: read } : null,
  });
}

/** By world, for its configuration is part of the verdict; which URL is written decides it, so it need not be found twice. */
const checkedUrls = new WeakMap<AttemptWorld, RecentMap<CheckedUrl>>();
const MAX_CHECKED_URLS = 10_000;

function checkedUrl(url: string, world: AttemptWorld): CheckedUrl {
  let checked = checkedUrls.get(world);
  if (checked === undefined) {
    checked = new RecentMap(MAX_CHECKED_URLS);
    checkedUrls.set(world, checked);
  }
  const known = checked.get(url);
  if (known !== undefined) return known;
  const address = checkPushUrl(url, world);
  checked.set(url, address);
  return address;
}

type Answer =
  | { readonly ok: true; readonly response: Response }
  | { readonly ok: false; readonly error: { code: AttemptError; detail: string } };

type Access =
  | {
      readonly ok: true;
      /** Null for an endpoint that wants none. */
      readonly token: string | null;
      /** With the client certificate of an endpoint that wants one. */
      readonly fetch: typeof fetch;
    }
  | { readonly ok: false; readonly error: { code: AttemptError; detail: string } };

/**
 * What has to be known before anything is sent: that the name leads to public addresses, and how to authenticate where
 * that is asked for.
 */
async function accessTo({ auth, tenantId }: DeliveryEndpoint, url: URL, world: AttemptWorld): Promise<Access> {
  const name = await world.dns?.check(url, world);
  if (name?.ok === false) return fault(name.reason === "unresolved" ? "address-unresolved" : "address-refused", name.detail);
  if (auth === undefined) return { ok: true, token: null, fetch: world.fetch };
  if (auth.kind === "mtls") return presenting(auth, tenantId, url, world);
  const authorization = await authorize(auth, world);
  if (!authorization.ok) return fault("authentication-failed", authorization.detail);
  return { ok: true, token: authorization.token, fetch: world.fetch };
}

/** The certificate is looked up at every attempt: an operator may have taken it away. */
function presenting({ certificate }: MtlsCertificate, tenantId: string, url: URL, { certificates }: AttemptWorld): Access {
  if (url.protocol !== "https:") return fault("authentication-failed", "A client certificate needs an https URL.");
  const fetchWith = certificates?.fetchWith(tenantId, certificate) ?? null;
  if (fetchWith === null) return fault("authentication-failed", `The certificate ${certificate} is not there for this tenant.`);
  return { ok: true, token: null, fetch: fetchWith };
}

async function send(
  endpoint: DeliveryEndpoint,
  url: URL,
  message: StoredMessage,
  context: RequestContext,
  request: typeof fetch,
  deadlines: Deadlines,
): Promise<Answer> {
  const built = await webhookRequest(endpoint, message, context).catch(() => null);
  if (built === null) return fault("signing-failed", "The request could not be built or signed.");
  const deadline = deadlines.begin(endpoint.timeoutSeconds * 1000);
  try {
    const response = await request(url.href, {
      method: "POST",
      headers: built.headers,
      body: built.body,
      redirect: "manual",
      signal: deadline.signal,
    });
    return { ok: true, response };
  } catch (error) {
    if (deadline.signal.aborted) {
      return fault("timed-out", `No response head within ${endpoint.timeoutSeconds} s.`);
    }
    return fault("connection-failed", error instanceof Error ? error.message : "The connection failed.");
  } finally {
    deadline.end();
  }
}

function fault(code: AttemptError, detail: string): { readonly ok: false; readonly error: { code: AttemptError; detail: string } } {
  return { ok: false, error: { code, detail: detail.slice(0, MAX_DETAIL_LENGTH) } };
}

function statusError(status: number): AttemptRecord["error"] {
  if (status >= 200 && status < 300) return null;
  if (status >= 300 && status < 400) {
    return { code: "redirect-refused", detail: `The endpoint answered ${status}; redirects are not followed.` };
  }
  return { code: "status", detail: `The endpoint answered ${status}.` };
}
