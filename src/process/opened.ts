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

  /** Without the mark that some editors put before UTF-8. Throws an Error that names the line for what is not UTF-8. */
  text(): string {
    const bytes = fs().readFileSync(this.#descriptor);
    const decoder = new TextDecoder("utf-8", { fatal: true });
    try {
      return decoder.decode(bytes);
    } catch {
      throw new Error(`line ${firstLineNotUtf8(bytes)} is not UTF-8; save the file in that encoding`);
    }
  }

  [Symbol.dispose](): void {
    fs().closeSync(this.#descriptor);
  }
}

const lineFeed = 10;

const firstLineNotUtf8 = (bytes: Uint8Array): number => {
  const decoder = new TextDecoder("utf-8", { fatal: true });
  let number = 1;
  for (let start = 0, end = 0; end >= 0; start = end + 1, number++) {
    end = bytes.indexOf(lineFeed, start);
    try {
      decoder.decode(bytes.subarray(start, end < 0 ? bytes.length : end));
    } catch {
      break;
    }
  }
  return number;
};
