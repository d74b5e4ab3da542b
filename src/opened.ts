/** Files that somebody else may swap: what a path leads to may be another file a moment later, so it is opened once. */
import { closeSync, constants, fstatSync, openSync, readFileSync, type Stats } from "node:fs";

export class OpenedFile implements Disposable {
  readonly #descriptor: number;
  readonly stats: Stats;

  /** For reading. Throws what the system says, ENOENT where there is none. Never waits, in case it is a pipe. */
  constructor(path: string) {
    this.#descriptor = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
    this.stats = fstatSync(this.#descriptor);
  }

  text(): string {
    return readFileSync(this.#descriptor, "utf8");
  }

  [Symbol.dispose](): void {
    closeSync(this.#descriptor);
  }
}
