/** `crypto.getRandomValues` costs as much for one byte as for this many. */
const POOL_BYTES = 4096;

let pool = new Uint8Array();
let used = 0;

/** Fills the bytes with random values, from a pool that is drawn anew when it is used up: each byte is given out once. */
export function fillFromPool(bytes: Uint8Array): void {
  if (used + bytes.length > pool.length) {
    pool = crypto.getRandomValues(new Uint8Array(Math.max(POOL_BYTES, bytes.length)));
    used = 0;
  }
  bytes.set(pool.subarray(used, used + bytes.length));
  pool.fill(0, used, used + bytes.length);
  used += bytes.length;
}
