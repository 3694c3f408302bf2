import { z } from "zod";
import type { MailboxFault } from "./mailbox.ts";

/** A call SQS did not do: the fault to show, and SQS's own name of the error for those who act on it. */
export type SqsFailure = { readonly ok: false; readonly name: string; readonly fault: MailboxFault };

/** The parts of the SDK's errors that decide; what is thrown for a broken connection has the name alone. */
const SdkError = z.object({
  name: z.string(),
  message: z.string().default(""),
  $metadata: z.object({ httpStatusCode: z.number().optional() }).optional(),
});

const UNKNOWN_CREDENTIALS = new Set([
  "UnrecognizedClientException",
  "InvalidClientTokenId",
  "InvalidAccessKeyId",
  "InvalidAccessKeyIdException",
  "MissingAuthenticationToken",
  "MissingAuthenticationTokenException",
  "NotAuthorized",
  "OptInRequired",
  "CredentialsProviderError",
]);
const WRONG_SIGNATURE = new Set(["SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException", "InvalidSecurity"]);
const EXPIRED = new Set(["ExpiredToken", "ExpiredTokenException", "RequestExpired"]);
const DENIED = new Set(["AccessDenied", "AccessDeniedException", "KmsAccessDenied"]);
const THROTTLED = new Set([
  "ThrottlingException",
  "Throttling",
  "RequestThrottled",
  "RequestLimitExceeded",
  "TooManyRequestsException",
  "OverLimit",
  "SlowDown",
  "KmsThrottled",
  "PurgeQueueInProgress",
  // a queue's name rests for 60 s after its deletion
  "QueueDeletedRecently",
]);

/** Names what was asked of SQS and where; `timedOut` when we gave it up ourselves. */
export type SqsCall = { readonly action: string; readonly where: string; readonly timedOut: boolean };

/** What an SDK error means. The SDK's own words are not repeated where they may quote credentials or signatures. */
export function sqsFailure(thrown: unknown, { action, where, timedOut }: SqsCall): SqsFailure {
  const parsed = SdkError.safeParse(thrown);
  const status = parsed.data?.$metadata?.httpStatusCode;
  const name = (parsed.data?.name ?? "unknown").replace(/^AWS\.SimpleQueueService\./, "");
  const fault = (code: MailboxFault["code"], detail: string): SqsFailure => ({
    ok: false,
    name: name === "NonExistentQueue" ? "QueueDoesNotExist" : name,
    fault: { ok: false, code, detail },
  });

  const credentials = credentialFault(name, action);
  if (credentials !== null) return fault("not-configured", credentials);
  if (THROTTLED.has(name) || status === 429) return fault("throttled", `Amazon SQS is not ready for ${action} (${name}): try again later.`);
  if (timedOut) return fault("unreachable", `Amazon SQS at ${where} did not answer ${action} in time.`);
  if (status === undefined) return fault("unreachable", `Amazon SQS at ${where} could not be reached for ${action}.`);
  if (status >= 500) return fault("unreachable", `Amazon SQS at ${where} failed to do ${action} (${status} ${name}).`);
  return fault("refused", `Amazon SQS refused ${action} (${name}): ${withoutSecrets(parsed.data?.message ?? "")}`);
}

function credentialFault(name: string, action: string): string | null {
  if (UNKNOWN_CREDENTIALS.has(name)) {
    return `Amazon SQS does not know the credentials (${name}): check AWS_ACCESS_KEY_ID, AWS_SESSION_TOKEN and AWS_REGION.`;
  }
  if (WRONG_SIGNATURE.has(name)) return `Amazon SQS refused the signature (${name}): check AWS_SECRET_ACCESS_KEY and AWS_REGION.`;
  if (EXPIRED.has(name)) return `The AWS credentials have expired (${name}): renew AWS_SESSION_TOKEN and its keys.`;
  if (DENIED.has(name)) return `The AWS credentials may not do sqs:${action} (${name}): allow it in their policy.`;
  return null;
}

const MAX_DETAIL_CHARACTERS = 200;

/** Without whatever is long enough to be a key, a token, a signature or a receipt handle. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/[A-Za-z0-9+/=_-]{24,}/g, "…").slice(0, MAX_DETAIL_CHARACTERS);
}
