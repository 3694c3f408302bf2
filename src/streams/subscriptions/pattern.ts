import { canonicalSegment } from "../protocol/path.ts";

/** A glob over paths of streams: `*` is any one segment, `**` any number of them, none included. */
export type StreamPattern = { readonly text: string; readonly segments: readonly string[] };

export type ParsedPattern = { readonly ok: true; readonly pattern: StreamPattern } | { readonly ok: false; readonly detail: string };

const MAX_PATTERN_CHARACTERS = 512;
const MAX_SEGMENTS = 16;
const ONE = "*";
const ANY = "**";
const LOGS = ["topics", "queues", "nodes"];

/** Parses a pattern into the one spelling of it. */
export function parseStreamPattern(text: string): ParsedPattern {
  const raw = text.split("/");
  if (text.length > MAX_PATTERN_CHARACTERS || raw.length > MAX_SEGMENTS) {
    return refuse(`A pattern has at most ${MAX_SEGMENTS} segments and ${MAX_PATTERN_CHARACTERS} characters.`);
  }
  const segments: string[] = [];
  for (const segment of raw) {
    const isGlob = segment === ONE || segment === ANY;
    const canonical = isGlob ? segment : canonicalSegment(segment);
    if (canonical === null) return refuse("A pattern is segments separated by one slash each, such as events/* or jobs/**.");
    if (!isGlob && canonical.includes("*")) return refuse("`*` and `**` stand for whole segments: nothing else can be in theirs.");
    segments.push(canonical);
  }
  const [first] = segments;
  if (first === "__ds") return refuse("`__ds` is reserved: no stream is below it.");
  if (first !== undefined && LOGS.includes(first)) {
    return refuse(`The logs below \`${first}\` wake nobody here: create an endpoint for their messages, or read them live.`);
  }
  return { ok: true, pattern: { text: segments.join("/"), segments } };
}

/** Whether the pattern covers the path, which is in its one spelling. */
export function matchesPath({ segments }: StreamPattern, path: string): boolean {
  // reached[i]: the first i segments of the pattern can cover what of the path was looked at
  let reached = segments.map(() => false);
  reached = [true, ...reached];
  skipAny(segments, reached);
  for (const part of path.split("/")) {
    const next = reached.map(() => false);
    segments.forEach((segment, index) => {
      if (segment === ANY) next[index + 1] ||= reached[index + 1] === true || reached[index] === true;
      else if (segment === ONE || segment === part) next[index + 1] ||= reached[index] === true;
    });
    skipAny(segments, next);
    reached = next;
  }
  return reached[segments.length] === true;
}

/** What every path that the pattern covers begins with. */
export function literalPrefix({ segments }: StreamPattern): string {
  const globAt = segments.findIndex((segment) => segment === ONE || segment === ANY);
  const literal = segments.slice(0, globAt < 0 ? segments.length : globAt);
  // before `**` the slash need not be there
  return globAt >= 0 && segments[globAt] === ONE && literal.length > 0 ? `${literal.join("/")}/` : literal.join("/");
}

/** `**` may cover nothing. */
function skipAny(segments: readonly string[], reached: boolean[]): void {
  segments.forEach((segment, index) => {
    if (segment === ANY && reached[index] === true) reached[index + 1] = true;
  });
}

function refuse(detail: string): ParsedPattern {
  return { ok: false, detail };
}
