import type { z } from "@hono/zod-openapi";
import type { KeyRing } from "../crypto/keyring.ts";
import { secretBytes } from "../inbound/secret.ts";
import { isTarget } from "../messages/topic.ts";
import { parseTopicArn } from "../sns/arn.ts";
import type { Source, SourceWithSecrets, WebhookSource } from "../storage/sources.ts";
import type { FieldError } from "./problem.ts";
import { requireUnreserved } from "./published.ts";
import { fail } from "./router.ts";
import { FIELDS_OF_KIND, type SourceChange } from "./source-schemas.ts";

/** The topic named, or else the name of each SNS topic, must be a target. */
export function requireTopics(source: Source): void {
  const names =
    source.topic !== null || source.kind !== "sns"
      ? [{ pointer: "/topic", name: source.topic ?? "" }]
      : source.topicArns.map((arn, index) => ({ pointer: `/topicArns/${index}`, name: parseTopicArn(arn)?.name ?? "" }));
  requireUnreserved(names);
  const malformed = names.filter(({ name }) => !isTarget(name));
  if (malformed.length === 0) return;
  fail({
    code: "malformed-target",
    detail: "Name a topic of dot-separated A-Z, a-z, 0-9, `_` and `-`, at most 128 characters.",
    errors: malformed.map(({ pointer }) => ({ pointer, detail: "Is no name for a topic." })),
  });
}

/** Ends the request unless the secret can verify what this kind of sender signs. */
export function requireSecret(source: WebhookSource, secret: string): void {
  if (secretBytes(source.kind, source.scheme, secret) !== null) return;
  const detail =
    source.kind === "standard-webhooks"
      ? "Must be `whsec_` and the base64 of 24 to 64 bytes."
      : "Must be the sender's secret, of 16 bytes or more, in the encoding that `hmac` says.";
  invalid([{ pointer: "/secret", detail }]);
}

/** The source with what the change names; ends the request when that is not for its kind. */
export function changedSource(before: Source, change: z.output<typeof SourceChange>, nowMs: number): Source {
  const allowed: readonly string[] = ["name", "topic", ...FIELDS_OF_KIND[before.kind === "sns" || before.kind === "hmac" ? before.kind : "webhook"]];
  const foreign = Object.keys(change).filter((field) => !allowed.includes(field));
  if (foreign.length > 0) {
    invalid(foreign.map((field) => ({ pointer: `/${field}`, detail: `A source of kind ${before.kind} has no such field: leave it out.` })));
  }
  const { name = before.name, topic = before.topic } = change;
  if (before.kind === "sns") {
    const { topicArns = before.topicArns, minVersion = before.minVersion } = change;
    return { ...before, name, topic, topicArns, minVersion, updatedAtMs: nowMs };
  }
  if (topic === null) return invalid([{ pointer: "/topic", detail: "Is needed: only an SNS topic has a name of its own." }]);
  const { hmac: scheme = before.scheme, deduplicateBy = before.deduplicateBy } = change;
  return { ...before, name, topic, scheme, deduplicateBy, updatedAtMs: nowMs };
}

/** Ends the request when a secret that is there could not be read as the changed scheme says. */
export async function requireReadableSecrets(after: Source, { secrets }: SourceWithSecrets, keyRing: KeyRing): Promise<void> {
  if (after.kind !== "hmac") return;
  const texts = await Promise.all(secrets.map(({ id, sealed }) => keyRing.open(sealed, `${after.tenantId}/${id}`)));
  if (texts.every((text) => secretBytes(after.kind, after.scheme, text) !== null)) return;
  invalid([{ pointer: "/hmac/secretEncoding", detail: "The source's secret is not of this encoding: keep the one it has, or make a new source." }]);
}

function invalid(errors: readonly FieldError[]): never {
  return fail({ code: "invalid-request", detail: "Mend the listed fields and send the request again.", errors });
}
