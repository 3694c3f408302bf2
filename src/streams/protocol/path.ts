import { isTarget } from "../../messages/topic.ts";
import type { StreamKind } from "../ref.ts";

/** What `/v1/stream/{path}` names: a stream of the user's own, or the log of a topic, queue or node. */
export type StreamPath =
  | { readonly kind: "own"; readonly path: string }
  | { readonly kind: "log"; readonly log: StreamKind; readonly name: string };

const MAX_PATH_CHARACTERS = 512;
const MAX_SEGMENTS = 16;
const CONTROL = /[\u0000-\u001f\u007f-\u009f]/;

export const PATH_GRAMMAR =
  `A stream's path has 1 to ${MAX_SEGMENTS} segments separated by one slash each, at most ${MAX_PATH_CHARACTERS} characters; ` +
  "below `topics`, `queues` and `nodes` it is the name of one. `__ds` is reserved.";

/**
 * Parses the part of a URL's path after `/v1/stream/`, percent-encoded as it came; null for what breaks the grammar.
 * Two spellings of one path give the same `path`.
 */
export function parseStreamPath(raw: string): StreamPath | null {
  const segments = raw.split("/").map(decodeSegment);
  if (raw.length > MAX_PATH_CHARACTERS || segments.length > MAX_SEGMENTS) return null;
  if (!segments.every((segment) => segment !== null)) return null;
  const [first, name] = segments;
  if (first === "__ds") return null;
  if (first === "topics" || first === "queues" || first === "nodes") {
    const isLog = segments.length === 2 && name !== undefined && isTarget(name);
    return isLog ? { kind: "log", log: first, name } : null;
  }
  return { kind: "own", path: segments.map((segment) => encodeURIComponent(segment)).join("/") };
}

/** A segment in the one spelling that paths have it in; null for what can be none. */
export function canonicalSegment(raw: string): string | null {
  const segment = decodeSegment(raw);
  return segment === null ? null : encodeURIComponent(segment);
}

function decodeSegment(raw: string): string | null {
  let segment: string;
  try {
    segment = decodeURIComponent(raw);
  } catch {
    return null; // a broken percent-encoding
  }
  const broken = segment === "" || segment === "." || segment === ".." || segment.includes("/") || CONTROL.test(segment);
  return broken || !segment.isWellFormed() ? null : segment;
}
