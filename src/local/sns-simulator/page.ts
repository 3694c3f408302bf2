import type { Parameters } from "./parameters.ts";
import { invalidParameter } from "./sns-error.ts";
import { text, type Xml } from "./xml.ts";

/** SNS lists this many at a time. */
const PAGE_SIZE = 100;

/** The page that `NextToken` asks for (absent: the first), and the `NextToken` element that leads on from it. */
export function page<Item>(all: readonly Item[], parameters: Parameters): { items: readonly Item[]; next: readonly Xml[] } {
  const token = parameters.optional("NextToken");
  const start = token === undefined ? 0 : Number(Buffer.from(token, "base64").toString());
  if (!Number.isSafeInteger(start) || start < 0) throw invalidParameter("NextToken");
  const end = start + PAGE_SIZE;
  return {
    items: all.slice(start, end),
    next: end < all.length ? [text("NextToken", Buffer.from(String(end)).toString("base64"))] : [],
  };
}
