import type { Delivery } from "./consume.ts";
import type { Pulled, Puller } from "./puller.ts";
import type { Settler } from "./settler.ts";

/** A delivery, and what its holder did about it. */
export type HeldDelivery = {
  readonly delivery: Delivery;
  /** Acknowledged or nacked. */
  readonly isSettled: () => boolean;
  readonly isAnswered: () => boolean;
};

export function holdDelivery(pulled: Pulled, puller: Puller, settler: Settler, visibilitySeconds: number): HeldDelivery {
  const { message } = pulled;
  let settled = false;
  let answered = false;
  return {
    isSettled: () => settled,
    isAnswered: () => answered,
    delivery: {
      message,
      ack: () => {
        settled = true;
        return settler.settle(pulled, { kind: "ack" });
      },
      nack: (delaySeconds = 0) => {
        settled = true;
        return settler.settle(pulled, { kind: "nack", delaySeconds });
      },
      extend: (seconds = visibilitySeconds) => settler.settle(pulled, { kind: "extend", visibilitySeconds: seconds }),
      reply: (data, options = {}) => {
        answered = true;
        return puller.reply(message.id, data, options.contentType);
      },
    },
  };
}
