/** Who was attempted for targets that are no endpoints, until the messages are told that they were attempted with. */
export class Takers {
  /** The highest offset of each. */
  readonly #offsets = new Map<string, number>();

  add(endpointId: string, offset: number): void {
    this.#offsets.set(endpointId, Math.max(offset, this.#offsets.get(endpointId) ?? offset));
  }

  names(): string[] {
    return [...this.#offsets.keys()];
  }

  forgetBefore(offset: number): void {
    for (const [endpointId, highest] of this.#offsets) if (highest < offset) this.#offsets.delete(endpointId);
  }
}
