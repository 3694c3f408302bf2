/** Every way a delivery can fail verification (§6); logged, never told to the sender. */
export type RefusalReason =
  | "raw-delivery"
  | "body-too-large"
  | "invalid-utf8"
  | "malformed-json"
  | "not-an-object"
  | "duplicate-key"
  | "unknown-type"
  | "unknown-key"
  | "missing-field"
  | "field-not-a-string"
  | "lone-surrogate"
  | "control-character"
  | "malformed-message-id"
  | "malformed-timestamp"
  | "malformed-topic-arn"
  | "malformed-attributes"
  | "message-too-large"
  | "unknown-signature-version"
  | "signature-not-canonical"
  | "type-header-mismatch"
  | "topic-header-mismatch"
  | "message-id-header-mismatch"
  | "topic-not-allowed"
  | "signature-version-too-low"
  | "too-old"
  | "too-far-ahead"
  | "certificate-url-mismatch"
  | CertificateRefusal
  | "signature-mismatch";

/** What was served under an acceptable URL is no certificate we accept. */
export type CertificateRefusal =
  | "certificate-redirected"
  | "certificate-too-large"
  | "certificate-malformed"
  | "certificate-key-not-rsa-2048"
  | "certificate-not-yet-valid"
  | "certificate-expired";

/** Why a delivery could not be judged: the fault is on our side or SNS's, and SNS should send it again. */
export type UndecidedReason = "certificate-not-fetched" | "certificate-fetches-exhausted";
