const BASE32 = "abcdefghijklmnopqrstuvwxyz234567";
const KEY_CHARACTERS = 10;
const BITS_PER_CHARACTER = 5;

/** A short name of a stream for use in ids: the first 50 bits of the SHA-256 of its full name, in base 32. */
export async function streamKey(stream: string): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(stream)));
  let key = "";
  for (let index = 0; index < KEY_CHARACTERS; index++) {
    const bit = index * BITS_PER_CHARACTER;
    const pair = ((digest[bit >> 3] ?? 0) << 8) | (digest[(bit >> 3) + 1] ?? 0);
    key += BASE32.charAt((pair >> (16 - BITS_PER_CHARACTER - (bit & 7))) & 31);
  }
  return key;
}

/**
 * The id of a delivery: `dlv_<stream key>_<offset, base 36>_<endpoint id without its prefix>`. Made of what the
 * delivery is, so that nobody has to keep it. `key` comes from {@link streamKey}.
 */
export function deliveryId(key: string, offset: number, endpointId: string): string {
  return `dlv_${key}_${offset.toString(36)}_${endpointId.replace(/^ep_/, "")}`;
}

/** The id of an attempt: `att_`, what its delivery's id says, and when it began. No delivery has two of one millisecond. */
export function attemptId(ofDelivery: string, startedAtMs: number): string {
  return `att_${ofDelivery.slice("dlv_".length)}_${startedAtMs.toString(36)}`;
}
