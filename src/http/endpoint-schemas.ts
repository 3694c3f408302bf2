import { z } from "@hono/zod-openapi";
import { customHeaderFault, MAX_CUSTOM_HEADERS } from "../delivery/custom-headers.ts";
import { DEFAULT_RETRY_SCHEDULE_SECONDS } from "../delivery/retry-policy.ts";
import { parseSigningSecret } from "../delivery/signing-secret.ts";
import { DEFAULT_OVERLAP_SECONDS, MAX_OVERLAP_SECONDS } from "../registry/endpoint-secret.ts";
import { Time } from "./schemas.ts";

const MAX_TOPICS = 100;
const MAX_RETRY_STEPS = 30;
const MAX_RETRY_STEP_SECONDS = 604_800;
const DEFAULT_TIMEOUT_SECONDS = 15;
const MAX_TIMEOUT_SECONDS = 30;
const MAX_RATE_PER_SECOND = 100_000;
const MAX_CONCURRENCY = 1_000;
const MAX_METADATA_KEYS = 50;
const MAX_METADATA_KEY_CHARACTERS = 64;
const MAX_METADATA_VALUE_CHARACTERS = 512;

export const EndpointId = z.string().openapi({ example: "ep_01jd2r8w3mabcdefghjkmnpqrs" });
export const EndpointKind = z.enum(["push", "pull"], { error: "Must be `push` (with a url) or `pull`." });
export const EndpointStatusName = z.enum(["active", "paused", "disabled"], {
  error: "Must be `active`, `paused` or `disabled`.",
});
const Format = z.enum(["raw", "cloudevents", "cloudevents-json"], {
  error: "Must be `raw`, `cloudevents` or `cloudevents-json`.",
});
export const FilterScopeName = z.enum(["attributes", "body"], { error: "Must be `attributes` or `body`." });

// Names and patterns are judged by the registry, not here: a malformed one is a 400 (`malformed-target`).
export const TopicPatternText = z
  .string()
  .openapi({ description: "A topic, `orders.*`, `orders.**` or `**`", example: "orders.*" });
const NodeName = z
  .string()
  .nullable()
  .openapi({ description: "The address of direct messages, unique in the tenant", example: "berlin.printer-1" });
export const QueueName = z
  .string()
  .nullable()
  .openapi({
    description: "Makes the endpoint a member: of a queue's members, one gets each message. A queue that is new is created",
    example: "billing",
  });
export const FilterPolicy = z
  .record(z.string(), z.unknown())
  .nullable()
  .openapi({
    type: ["object", "null"],
    additionalProperties: {},
    description: "Amazon SNS filter policy",
    example: { country: ["DE", { prefix: "A" }] },
  });

const Name = z.string().max(128, { error: "May have at most 128 characters." }).nullable();
const Description = z.string().max(1024, { error: "May have at most 1024 characters." }).nullable();
const Url = z
  .string()
  .nullable()
  .openapi({ description: "Public and https; checked again at every attempt", example: "https://example.com/hook" });
export const TopicList = z.array(TopicPatternText).max(MAX_TOPICS, { error: `May list at most ${MAX_TOPICS} topics.` });

const CustomHeaders = z
  .record(z.string(), z.string())
  .superRefine((headers, context) => {
    const names = Object.keys(headers);
    if (names.length > MAX_CUSTOM_HEADERS) {
      context.addIssue({ code: "custom", path: [], message: `May hold at most ${MAX_CUSTOM_HEADERS} headers.` });
    }
    const seen = new Set<string>();
    for (const name of names) {
      const fault = seen.has(name.toLowerCase()) ? "is there twice" : customHeaderFault(name, headers[name] ?? "");
      seen.add(name.toLowerCase());
      if (fault !== null) context.addIssue({ code: "custom", path: [name], message: `The header ${fault}.` });
    }
  })
  .transform((headers) => Object.fromEntries(Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value])))
  .nullable()
  .openapi({
    type: ["object", "null"],
    additionalProperties: { type: "string" },
    description: "Sent with every request. Values are shown as `***`; sent back so, a value stays as it is",
    example: { authorization: "Bearer abc" },
  });

const Asymmetric = z
  .boolean()
  .openapi({ description: "Adds a `v1a` signature (Ed25519), by the tenant's key in `/.well-known/jwks.json`" });

const CREDENTIAL_ERROR = "Must be 1 to 512 printable characters.";
const Credential = z.string().regex(/^[\x20-\x7e]{1,512}$/, { error: CREDENTIAL_ERROR });
const OAuth2 = z
  .strictObject({
    kind: z.literal("oauth2"),
    tokenUrl: z.string().openapi({ description: "Public and https, as the URL", example: "https://auth.example.com/token" }),
    clientId: Credential,
    clientSecret: Credential.openapi({ description: "Shown as `***`; sent back so, it stays as it is" }),
    scope: Credential.nullable().default(null),
  })
  .openapi("OAuth2ClientCredentials", {
    description: "A bearer token is fetched with these client credentials (RFC 6749 §4.4) and sent as `authorization`",
  });
const Mtls = z
  .strictObject({
    kind: z.literal("mtls"),
    certificate: z
      .string()
      .regex(/^[A-Za-z_][A-Za-z0-9_]{0,63}$/, { error: "Must be the name of a certificate binding." })
      .openapi({ description: "A certificate that an operator listed for the tenant, by the name of its binding", example: "CLIENT_CERT" }),
  })
  .openapi("ClientCertificate", { description: "Requests present this client certificate (TLS client authentication)" });
const Auth = z
  .discriminatedUnion("kind", [OAuth2, Mtls], { error: "`kind` must be `oauth2` or `mtls`." })
  .openapi("EndpointAuth");

export const HandshakeStatus = z.enum(["waiting", "allowed"]);
const Handshake = z.boolean().openapi({
  description:
    "The receiver is asked for permission first (OPTIONS, CloudEvents webhooks §4); until it allows this origin, messages " +
    "wait. It is asked again when the URL changes, and the rate it allows is kept",
});

export const SigningSecret = z
  .string()
  .refine((secret) => parseSigningSecret(secret) !== null, {
    error: "Must be `whsec_` and the base64 of 24 to 64 random bytes; leave it out to have one made.",
  })
  .openapi({ description: "`whsec_` and the base64 of 24 to 64 bytes", example: "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" });

const TIMEOUT_ERROR = `Must be a whole number of seconds from 1 to ${MAX_TIMEOUT_SECONDS}.`;
const TimeoutSeconds = z
  .int({ error: TIMEOUT_ERROR })
  .min(1, { error: TIMEOUT_ERROR })
  .max(MAX_TIMEOUT_SECONDS, { error: TIMEOUT_ERROR })
  .openapi({ description: "For the response head" });

const STEP_ERROR = `Must be a whole number of seconds from 1 to ${MAX_RETRY_STEP_SECONDS}.`;
const RetrySchedule = z
  .array(
    z.int({ error: STEP_ERROR }).min(1, { error: STEP_ERROR }).max(MAX_RETRY_STEP_SECONDS, { error: STEP_ERROR }),
  )
  .max(MAX_RETRY_STEPS, { error: `May have at most ${MAX_RETRY_STEPS} steps.` })
  .openapi({ description: "Seconds between attempts; `[]` for one attempt only" });

const RATE_ERROR = `Must be a number above 0 and up to ${MAX_RATE_PER_SECOND}, or null.`;
const RateLimit = z
  .number({ error: RATE_ERROR })
  .positive({ error: RATE_ERROR })
  .max(MAX_RATE_PER_SECOND, { error: RATE_ERROR })
  .nullable()
  .openapi({ description: "Deliveries a second; null for no limit" });

const CONCURRENCY_ERROR = `Must be a whole number from 1 to ${MAX_CONCURRENCY}, or null.`;
const MaxConcurrency = z
  .int({ error: CONCURRENCY_ERROR })
  .min(1, { error: CONCURRENCY_ERROR })
  .max(MAX_CONCURRENCY, { error: CONCURRENCY_ERROR })
  .nullable()
  .openapi({ description: "Requests under way at once; null for no limit of its own" });

const OrderingKey = z
  .string()
  .toLowerCase()
  .regex(/^[a-z0-9_.-]{1,128}$/, { error: "Must be the name of an attribute: 1 to 128 of a-z, 0-9, `_`, `.` and `-`; or null." })
  .nullable()
  .openapi({
    type: ["string", "null"],
    description: "With `ordered`: an attribute. Messages with the same value of it come in order, one at a time; others do not wait for them",
    example: "customer",
  });

const Fallback = z
  .literal("pull", { error: "Must be `pull` or null." })
  .nullable()
  .openapi({ type: ["string", "null"], enum: ["pull", null], description: "Where exhausted messages go" });

const SCALAR_ERROR = `Must be a text of at most ${MAX_METADATA_VALUE_CHARACTERS} characters, a number, a boolean or null.`;
const Metadata = z
  .record(
    z.string().min(1).max(MAX_METADATA_KEY_CHARACTERS),
    z.union([z.string().max(MAX_METADATA_VALUE_CHARACTERS), z.number(), z.boolean(), z.null()], { error: SCALAR_ERROR }),
  )
  .refine((metadata) => Object.keys(metadata).length <= MAX_METADATA_KEYS, {
    error: `May hold at most ${MAX_METADATA_KEYS} keys.`,
  })
  .openapi({ description: "Yours to use; shown with the endpoint" });

/** Body of `POST /v1/endpoints`. */
export const CreateEndpoint = z
  .strictObject({
    kind: EndpointKind,
    name: Name.default(null),
    node: NodeName.default(null),
    url: Url.default(null),
    topics: TopicList.default([]).openapi({ description: "Shorthand: a subscription for each" }),
    filter: FilterPolicy.default(null),
    filterScope: FilterScopeName.default("attributes"),
    queue: QueueName.default(null),
    format: Format.default("raw"),
    headers: CustomHeaders.default(null),
    asymmetric: Asymmetric.default(false),
    auth: Auth.nullable().default(null),
    handshake: Handshake.default(false),
    secret: SigningSecret.optional(),
    timeoutSeconds: TimeoutSeconds.default(DEFAULT_TIMEOUT_SECONDS),
    retrySchedule: RetrySchedule.default([...DEFAULT_RETRY_SCHEDULE_SECONDS]),
    rateLimit: RateLimit.default(null),
    maxConcurrency: MaxConcurrency.default(null),
    ordered: z.boolean().default(false),
    orderingKey: OrderingKey.default(null),
    fallback: Fallback.default(null),
    description: Description.default(null),
    metadata: Metadata.nullable().default(null),
  })
  .openapi("CreateEndpoint");

/** Body of `PATCH /v1/endpoints/{id}`: what is left out stays; null clears what may be empty. */
export const PatchEndpoint = z
  .strictObject({
    name: Name,
    node: NodeName,
    url: Url,
    topics: TopicList.openapi({ description: "All patterns there are to be: others end, listed ones stay as they are" }),
    filter: FilterPolicy,
    filterScope: FilterScopeName,
    queue: QueueName,
    format: Format,
    headers: CustomHeaders,
    asymmetric: Asymmetric,
    auth: Auth.nullable(),
    handshake: Handshake,
    timeoutSeconds: TimeoutSeconds,
    retrySchedule: RetrySchedule,
    rateLimit: RateLimit,
    maxConcurrency: MaxConcurrency,
    ordered: z.boolean(),
    orderingKey: OrderingKey,
    fallback: Fallback,
    description: Description,
    metadata: Metadata.nullable(),
  })
  .partial()
  .openapi("PatchEndpoint");

const endpointFields = {
  id: EndpointId,
  name: z.string().nullable(),
  node: z.string().nullable(),
  kind: EndpointKind,
  url: z.string().nullable(),
  topics: z.array(z.string()).openapi({ description: "The patterns of its subscriptions" }),
  filter: FilterPolicy.openapi({ description: "Of its subscriptions; null as well where they differ: see those" }),
  filterScope: FilterScopeName,
  queue: z.string().nullable().openapi({ description: "Of its subscriptions; null as well where they differ: see those" }),
  format: Format,
  headers: z.record(z.string(), z.string()).openapi({ description: "Names; the values are masked" }),
  asymmetric: Asymmetric,
  auth: Auth.nullable(),
  handshake: z.boolean(),
  handshakeStatus: HandshakeStatus.nullable().openapi({ description: "`waiting`: nothing is sent before its receiver allows it" }),
  allowedRatePerMinute: z.number().int().nullable().openapi({ description: "What the receiver allows; null for no limit of its" }),
  timeoutSeconds: z.number(),
  retrySchedule: z.array(z.number()),
  rateLimit: z.number().nullable(),
  maxConcurrency: z.number().nullable(),
  ordered: z.boolean(),
  orderingKey: z.string().nullable(),
  fallback: z.literal("pull").nullable().openapi({ enum: ["pull", null] }),
  description: z.string().nullable(),
  metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean(), z.null()])),
  status: EndpointStatusName,
  disabledReason: z.string().nullable(),
  circuit: z.enum(["closed", "open"]).openapi({
    description: "Open while nearly all attempts fail: it is tried now and then only, until it answers. What waits uses up no attempts",
  }),
  circuitOpenedAt: Time.nullable(),
  createdAt: Time,
  updatedAt: Time,
};

export const Endpoint = z.object(endpointFields).openapi("Endpoint");

export const CreatedEndpoint = z
  .object({ ...endpointFields, secret: z.string().openapi({ description: "Shown here and at `/secret` only" }) })
  .openapi("CreatedEndpoint");

const OVERLAP_ERROR = `Must be a whole number of seconds from 0 to ${MAX_OVERLAP_SECONDS}.`;

/** Body of `POST /v1/endpoints/{id}/secret/rotate`. */
export const RotateSecret = z
  .strictObject({
    secret: SigningSecret.optional(),
    overlapSeconds: z
      .int({ error: OVERLAP_ERROR })
      .min(0, { error: OVERLAP_ERROR })
      .max(MAX_OVERLAP_SECONDS, { error: OVERLAP_ERROR })
      .default(DEFAULT_OVERLAP_SECONDS)
      .openapi({ description: "How long the secret before still signs" }),
  })
  .openapi("RotateSecret");

/** Body of `POST /v1/endpoints/{id}/test`. */
export const TestEndpoint = z
  .strictObject({
    topic: z
      .string()
      .optional()
      .openapi({ description: "Default: the first topic it subscribes to", example: "orders.completed" }),
    data: z.unknown().optional().openapi({ description: "Any JSON; default: an example" }),
  })
  .openapi("TestEndpoint");
