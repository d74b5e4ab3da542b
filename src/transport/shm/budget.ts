/** Bytes that several connections share: what one has taken, another cannot have. */
export class Budget {
  #left: number;

  constructor(bytes: number) {
    this.#left = bytes;
  }

  /** False where there are not so many left; then none is taken. Fewer than 0 are given back. */
  take(bytes: number): boolean {
    if (bytes > this.#left) return false;
    this.#left -= bytes;
    return true;
  }
}
