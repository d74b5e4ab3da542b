/** Files that somebody else may swap: what a path leads to may be another file a moment later, so it is opened once. */
import type { Stats } from "node:fs";
import { fs } from "./node.ts";

export class OpenedFile implements Disposable {
  readonly #descriptor: number;
  readonly stats: Stats;

  /** For reading. Throws what the system says, ENOENT where there is none. Never waits, in case it is a pipe. */
  constructor(path: string) {
    const { O_NONBLOCK, O_RDONLY } = fs().constants;
    this.#descriptor = fs().openSync(path, O_RDONLY | O_NONBLOCK);
    this.stats = fs().fstatSync(this.#descriptor);
  }

  text(): string {
    return fs().readFileSync(this.#descriptor, "utf8");
  }

  [Symbol.dispose](): void {
    fs().closeSync(this.#descriptor);
  }
}
