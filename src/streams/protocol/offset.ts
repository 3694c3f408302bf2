/**
 * Offsets of the Durable Streams Protocol (§6) are positions: how many bytes come before, in a JSON stream and in the
 * log of a topic how many messages. On the wire they have a fixed width, so that they sort as text:
 * `0000000000000000_0000000000000042`. The first group is reserved and always zero.
 */
const DIGITS = 16;
const EPOCH = "0".repeat(DIGITS);
const OFFSET = /^0{16}_([0-9]{16})$/;
const DECIMAL = /^(?:0|[1-9][0-9]{0,15})$/;

/** Where a read begins: `start` and `now` are the protocol's `-1` and `now`. */
export type ReadFrom = "start" | "now" | number;

export function formatOffset(position: number): string {
  return `${EPOCH}_${String(position).padStart(DIGITS, "0")}`;
}

/** The position an offset stands for; null for what is not one of ours, the sentinels included. */
export function parsePosition(text: string): number | null {
  const digits = OFFSET.exec(text)?.[1];
  return digits === undefined ? null : Number(digits);
}

/** The `offset` of a read; null for what is not one of ours. */
export function parseOffset(text: string): ReadFrom | null {
  if (text === "-1") return "start";
  return text === "now" ? "now" : parsePosition(text);
}

/** The same where offsets are those that publishing returned: they are taken as plain decimals too. */
export function parseLogOffset(text: string): ReadFrom | null {
  return DECIMAL.test(text) ? Number(text) : parseOffset(text);
}
