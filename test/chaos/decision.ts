/** What becomes of one call to a binding. Only the queue drops and duplicates. */
export type Decision = {
  readonly act: "pass" | "fail before" | "fail after" | "drop" | "duplicate";
  readonly delayMs: number;
};
