import { type Attributes } from "../messages/message.ts";
import { parseAttributes } from "../messages/attributes.ts";
import { isTarget, parseQueueMethod } from "../messages/topic.ts";
import { problem } from "./errors.ts";

/**
 * Targets are checked here too, with the gateway's own grammar: a name such as `..` would become another path before
 * the gateway could refuse it.
 */
export function checkTarget(name: string): string {
  if (isTarget(name)) return name;
  throw problem("malformed-target", `\`${name}\` must be dot-separated segments of A-Z a-z 0-9 _ -, at most 128 characters.`);
}

/** The parts of `queue/method`. */
export function checkQueueMethod(target: string): { readonly queue: string; readonly method: string } {
  const parsed = parseQueueMethod(target);
  if (parsed !== null) return parsed;
  throw problem("malformed-target", `\`${target}\` must be \`queue/method\`: the name of a queue, and a method of A-Z a-z 0-9 _.`);
}

/** The attributes with their names in lower case. */
export function checkAttributes(sent: Attributes = {}): Attributes {
  const parsed = parseAttributes(Object.entries(sent), (name) => (name === "" ? "/attributes" : `/attributes/${name}`));
  if (parsed.ok) return parsed.attributes;
  throw problem("invalid-request", "Mend the listed fields and send the request again.", parsed.errors);
}
