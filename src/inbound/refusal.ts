/** Every way a delivery of a webhook sender can fail verification; logged, never told to the sender. */
export type InboundRefusal =
  | "signature-missing"
  | "signature-malformed"
  | "too-many-signatures"
  | "timestamp-missing"
  | "timestamp-malformed"
  | "too-old"
  | "too-far-ahead"
  | "id-missing"
  | "id-malformed"
  | "signature-mismatch";
