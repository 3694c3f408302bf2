export type { BatchEntry, BatchOptions, Bus, Published, PublishOptions, QueryOptions, SendOptions } from "./bus.ts";
export type { Fetch } from "./call.ts";
export { type ClientOptions, createClient } from "./client.ts";
export type { Consumer, ConsumeFault, ConsumeOptions, ConsumeSource, Delivery, Handler, Message, Settled } from "./consume.ts";
export type { Content, Data } from "./content.ts";
export { type ConnectionFailure, type FieldError, PosternConnectionError, PosternProblem, type ProblemCode } from "./errors.ts";
export { createMemoryBus, type MemoryBus, type MemoryQueueOptions } from "./memory-bus.ts";
export type { DeadLetter, MemoryTarget } from "./memory-deliveries.ts";
export type { MemoryEndpointOptions, MemoryHandler } from "./memory-endpoints.ts";
export {
  type VerifiedWebhook, verifyWebhook, type WebhookFailure, type WebhookHeaders, type WebhookRequest, WebhookVerificationError,
} from "./verify-webhook.ts";
