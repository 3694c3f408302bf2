import type { FieldFault } from "./attributes.ts";
import { parseMediaType } from "./cloudevents-media-type.ts";
import type { EventContext } from "./message.ts";

/**
 * The context attributes of CloudEvents 1.0.2, the same for every mode.
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md
 */
export type ParsedContext = {
  readonly id: string;
  readonly event: EventContext;
  /** `datacontenttype`; null when the event names none. */
  readonly contentType: string | null;
};

const ATTRIBUTE_NAME = /^[a-z0-9]{1,64}$/;
const REQUIRED = ["specversion", "id", "source", "type"];
/** Names of ours in the JSON envelope, and so never of an attribute. */
const RESERVED = new Set(["data"]);
/** Context attributes that a message has fields of its own for. */
const ELSEWHERE = new Set(["specversion", "id", "datacontenttype"]);

const CONTROL_OR_NONCHARACTER = /[\u0000-\u001f\u007f-\u009f\ufdd0-\ufdef\ufffe\uffff]/;
const URI_CHARACTERS = /^[A-Za-z0-9\-._~:/?#[\]@!$&'()*+,;=%]+$/;
const RFC3339 =
  /^(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])[Tt]([01]\d|2[0-3]):[0-5]\d:([0-5]\d|60)(\.\d{1,32})?([Zz]|[+-]([01]\d|2[0-3]):[0-5]\d)$/;

/** Attributes as sent, by name; null for one that could not be read, whose fault is known already. */
export type SentAttributes = ReadonlyMap<string, string | null>;

/**
 * Checks the attributes of one event; faults are added with where the attribute was sent.
 * @param idOnly whether an event may consist of an `id` alone: a plain message whose publisher chose its id
 */
export function parseContext(
  attributes: SentAttributes,
  pointerOf: (name: string) => string,
  errors: FieldFault[],
  idOnly = false,
): ParsedContext {
  for (const name of idOnly ? ["id"] : REQUIRED) {
    if (!attributes.has(name)) errors.push({ pointer: pointerOf(name), detail: "is required by CloudEvents 1.0" });
  }
  const event: [string, string][] = [];
  for (const [name, value] of attributes) {
    if (value === null) continue;
    const detail = nameFault(name) ?? valueFault(name, value);
    if (detail !== null) errors.push({ pointer: pointerOf(name), detail });
    else if (!ELSEWHERE.has(name)) event.push([name, value]);
  }
  return {
    id: attributes.get("id") ?? "",
    event: Object.fromEntries(event),
    contentType: attributes.get("datacontenttype") ?? null,
  };
}

function nameFault(name: string): string | null {
  if (ATTRIBUTE_NAME.test(name) && !RESERVED.has(name)) return null;
  return "is not an attribute name: use a-z and 0-9 only, at most 64, and not `data`";
}

function valueFault(name: string, value: string): string | null {
  if (CONTROL_OR_NONCHARACTER.test(value) || !value.isWellFormed()) {
    return "must not hold control characters, noncharacters or lone surrogates";
  }
  switch (name) {
    case "specversion":
      return value === "1.0" ? null : "must be `1.0`";
    case "id":
    case "type":
    case "subject":
      return value === "" ? "must not be empty" : null;
    case "source":
      return URI_CHARACTERS.test(value) ? null : "must be a URI reference, such as `/shop/orders`";
    case "dataschema":
      return /^[A-Za-z][A-Za-z0-9+.-]*:/.test(value) && URI_CHARACTERS.test(value) ? null : "must be an absolute URI";
    case "datacontenttype":
      return parseMediaType(value) === null ? "must be a media type, such as `application/json`" : null;
    case "time":
      return RFC3339.test(value) ? null : "must be a time of RFC 3339, such as `2026-01-31T12:00:00Z`";
    default:
      return null;
  }
}
