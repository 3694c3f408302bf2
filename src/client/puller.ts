import type { Message, Settled } from "./consume.ts";
import type { Data } from "./content.ts";

/** A message with where and by what it is settled. */
export type Pulled = { readonly message: Message; readonly box: string; readonly receipt: string };

export type ReceiveRequest = {
  readonly max: number;
  readonly waitSeconds: number;
  readonly visibilitySeconds: number;
  /** Aborted when the consumer stops. */
  readonly signal: AbortSignal;
};

export type SettleAction =
  | { readonly kind: "ack" }
  | { readonly kind: "nack"; readonly delaySeconds: number }
  | { readonly kind: "extend"; readonly visibilitySeconds: number };

/** What a consumer consumes from: a gateway over HTTP, or the boxes of a bus in memory. */
export interface Puller {
  receive(request: ReceiveRequest): Promise<readonly Pulled[]>;
  /** What became of each receipt, in the order given; all are of the one box. */
  settle(box: string, action: SettleAction, receipts: readonly string[]): Promise<readonly Settled[]>;
  reply(messageId: string, data: Data, contentType?: string): Promise<void>;
}
