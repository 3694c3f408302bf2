/** Milliseconds of the machine's monotonic clock: the same in every process, so that two of them can be subtracted. */
export function nowMs(): number {
  const [seconds, nanoseconds] = process.hrtime();
  return seconds * 1e3 + nanoseconds / 1e6;
}
