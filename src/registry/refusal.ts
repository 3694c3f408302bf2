/** One field that can not be accepted: JSON Pointer into the request body, and how to mend it. */
export type Fault = { readonly pointer: string; readonly detail: string };

/** Why a change of the registry was not made; nothing of it was. */
export type Refusal =
  /** A topic pattern, node or queue name breaks the grammar of §1. */
  | { readonly code: "malformed-target"; readonly faults: readonly Fault[] }
  | { readonly code: "invalid"; readonly faults: readonly Fault[] }
  /** The resolver did not say what a name's addresses are. */
  | { readonly code: "name-unresolved"; readonly detail: string }
  | { readonly code: "node-taken" }
  | { readonly code: "pull-endpoint" }
  /** Its receiver has not allowed anything to be sent yet. */
  | { readonly code: "unallowed" }
  | { readonly code: "no-such-endpoint" }
  | { readonly code: "no-such-subscription" }
  | { readonly code: "no-such-queue" }
  /** The queue has members, these endpoints. */
  | { readonly code: "queue-in-use"; readonly endpointIds: readonly string[] }
  /** `detail` says what is missing or wrong, and holds no credential. */
  | { readonly code: "mailbox-unavailable"; readonly detail: string };

export type Outcome<Value> = { readonly ok: true; readonly value: Value } | { readonly ok: false; readonly refusal: Refusal };

export function accept<Value>(value: Value): Outcome<Value> {
  return { ok: true, value };
}

export function refuse(refusal: Refusal): { readonly ok: false; readonly refusal: Refusal } {
  return { ok: false, refusal };
}
