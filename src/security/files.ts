/** Files of this user: the home folder, and reading a file that others may replace. */
import type { Stats } from "node:fs";
import { fs } from "../transport/fs.ts";

/** A file that is opened once, since its path may lead to another file a moment later. */
export class OpenedFile implements Disposable {
  readonly #descriptor: number;
  readonly stats: Stats;

  /** For reading. Throws the error of the system. Does not block, in case it is a pipe. */
  constructor(path: string) {
    const { O_NONBLOCK, O_RDONLY } = fs().constants;
    this.#descriptor = fs().openSync(path, O_RDONLY | O_NONBLOCK);
    this.stats = fs().fstatSync(this.#descriptor);
  }

  /** Without a byte order mark. Throws an Error that names the first line that is not UTF-8. */
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

export type Environment = Readonly<Record<string, string | undefined>>;

/** Null if HOME is not an absolute path, or is not set and the system does not know the user. */
export const homeFolder = ({ HOME }: Environment = process.env): string | null => {
  const home = HOME || knownHome();
  return home?.startsWith("/") ? home : null;
};

/** From passwd(5). */
const knownHome = (): string | null => {
  try {
    return process.getBuiltinModule("node:os").homedir();
  } catch {
    return null;
  }
};

/** Why there is no home folder; the caller adds what to do instead. */
export const noHome = (): string => {
  const { HOME } = process.env;
  if (HOME) return `HOME is ${JSON.stringify(HOME)}, which is not an absolute path`;
  return `there is no home folder: HOME is not set, and the system does not know user ${process.geteuid?.()}`;
};
