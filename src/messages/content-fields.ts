import { toBase64 } from "../crypto/base64.ts";

// A byte order mark is content: it must come out again.
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Bytes as JSON shows them: text only where it encodes to the same bytes again, which valid UTF-8 does. */
export function contentFields(body: Uint8Array): { readonly data: string } | { readonly dataBase64: string } {
  try {
    return { data: strictUtf8.decode(body) };
  } catch {
    return { dataBase64: toBase64(body) }; // not UTF-8
  }
}
