import { DEFAULT_CONTENT_TYPE, mediaType } from "./content.ts";
import type { CreateRequest } from "./contract.ts";
import type { StreamState } from "./store.ts";

/** Whether a request to create asks for the stream there is (§5.1). A fork may leave out what it inherits. */
export function isSameStream(state: StreamState, request: CreateRequest): boolean {
  const { fork } = state;
  const asked = request.fork;
  const contentType = request.contentType ?? (asked === null ? DEFAULT_CONTENT_TYPE : state.contentType);
  if (mediaType(contentType) !== mediaType(state.contentType) || request.closed !== state.closed) return false;
  const inheritsExpiry = asked !== null && request.ttlSeconds === null && request.expiresAt === null;
  const sameExpiry = request.ttlSeconds === state.ttlSeconds && request.expiresAt === state.expiresAt;
  if (!sameExpiry && !inheritsExpiry) return false;
  if (asked === null || fork === null) return asked === fork;
  const samePosition = asked.position === null || asked.position === (fork.askedPosition ?? fork.position);
  return asked.source === fork.source && samePosition && asked.subOffset === fork.askedSubOffset;
}
