/**
 * What a message may be made of. Text is sent as UTF-8, bytes as they are, and anything else as the JSON that
 * `JSON.stringify` makes of it.
 */
export type Data = string | number | boolean | null | object;

/** The body of a message or an answer. */
export type Content = {
  readonly contentType: string;
  /** The bytes that were published. */
  readonly bytes: Uint8Array;
  /** The bytes as UTF-8; throws a TypeError when they are not. */
  readonly text: () => string;
  /** The text as JSON, without a byte order mark; throws a SyntaxError when it is none. */
  readonly json: () => unknown;
};

/** Data as it goes out. The bytes are a copy, so that a retry sends what the first try did. */
export type EncodedData = { readonly contentType: string; readonly body: string | Uint8Array<ArrayBuffer> };

const TEXT = "text/plain; charset=utf-8";
const JSON_TYPE = "application/json";
const OCTETS = "application/octet-stream";

/** @throws TypeError for what JSON can not say, such as a Promise, a Map or a Blob: it would arrive as `{}` */
export function encodeData(data: Data, contentType?: string): EncodedData {
  if (typeof data === "string") return { contentType: contentType ?? TEXT, body: data };
  if (data instanceof ArrayBuffer) return { contentType: contentType ?? OCTETS, body: new Uint8Array(data.slice(0)) };
  if (ArrayBuffer.isView(data)) {
    const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
    return { contentType: contentType ?? OCTETS, body: new Uint8Array(bytes) };
  }
  const kind = Object.prototype.toString.call(data).slice("[object ".length, -1);
  const hasJson = typeof data === "object" && data !== null && "toJSON" in data;
  if (!hasJson && !["Object", "Array", "Number", "Boolean", "String", "Null"].includes(kind)) {
    throw new TypeError(`a ${kind} has no JSON form: send text, bytes or a JSON value`);
  }
  // Its declared type leaves out that it gives undefined for a value that JSON has no form of.
  const text: string | undefined = JSON.stringify(data);
  if (text === undefined) throw new TypeError(`a ${kind} has no JSON form: send text, bytes or a JSON value`);
  return { contentType: contentType ?? JSON_TYPE, body: text };
}

/** What a handler returned, as data; throws a TypeError for what can be none. */
export function dataOf(returned: unknown): Data {
  if (typeof returned === "string" || typeof returned === "number" || typeof returned === "boolean") return returned;
  if (typeof returned === "object") return returned;
  throw new TypeError(`a ${typeof returned} can be no answer: return text, bytes or a JSON value`);
}

export function bytesOf({ body }: EncodedData): Uint8Array {
  return typeof body === "string" ? new TextEncoder().encode(body) : body;
}

export function contentOf(contentType: string, bytes: Uint8Array): Content {
  const decode = (ignoreBOM: boolean): string => new TextDecoder("utf-8", { fatal: true, ignoreBOM }).decode(bytes);
  return { contentType, bytes, text: () => decode(true), json: (): unknown => JSON.parse(decode(false)) };
}
