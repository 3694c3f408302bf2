import type { Presence } from "../subscriptions/contract.ts";
import { directoryStub, subscriptionStub } from "../subscriptions/stub.ts";
import { parseDurableStreamName } from "./stub.ts";

/** Whom a stream tells of itself. */
export type Listeners = {
  /** Notes the stream in its tenant's directory; the subscriptions that want to be told of it. */
  readonly list: (stream: string) => Promise<readonly string[]>;
  readonly unlist: (stream: string) => Promise<void>;
  /** False when the subscription does not want to be told of it (any more). */
  readonly tell: (subscriptionId: string, stream: string, presence: Presence) => Promise<boolean>;
};

export function listenersOf(env: Cloudflare.Env): Listeners {
  return {
    list: (stream) => {
      const { tenantId, path } = parseDurableStreamName(stream);
      return directoryStub(env.STREAM_DIRECTORIES, tenantId).addStream(path);
    },
    unlist: (stream) => {
      const { tenantId, path } = parseDurableStreamName(stream);
      return directoryStub(env.STREAM_DIRECTORIES, tenantId).removeStream(path);
    },
    tell: (id, stream, presence) => {
      const { tenantId, path } = parseDurableStreamName(stream);
      return subscriptionStub(env.STREAM_SUBSCRIPTIONS, { tenantId, id }).told(path, presence);
    },
  };
}
