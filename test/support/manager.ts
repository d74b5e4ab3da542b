/** The one that a service tells how it is, as systemd would hear it: `await using manager = await startManager("@name")`. */
import { existsSync } from "node:fs";
import { join } from "node:path";

export const python = "/usr/bin/python3";
export const hasPython = existsSync(python);

/** What was told with one message. */
export interface Notice {
  /** The sender, as the kernel vouches for it. */
  readonly pid: number;
  /** µs of CLOCK_MONOTONIC, when it was heard. */
  readonly heardUs: number;
  readonly words: Readonly<Record<string, string>>;
}

/** ms. Nothing takes as long; a test that gets there has failed. */
const patienceMs = 30_000;

export class Manager implements AsyncDisposable {
  readonly notices: Notice[] = [];
  readonly #process: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #bound = Promise.withResolvers<void>();

  constructor(readonly address: string) {
    this.#process = Bun.spawn([python, join(import.meta.dir, "../systemd/manager.py"), address], {
      stdin: "ignore",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#listen().catch(this.#bound.reject);
  }

  get bound(): Promise<void> {
    return this.#bound.promise;
  }

  /** Those that say a thing, such as READY. */
  of(word: string): Notice[] {
    return this.notices.filter(({ words }) => words[word] !== undefined);
  }

  /** Waits until that many have said it, and gives the last of them. */
  async heard(word: string, count = 1): Promise<Notice> {
    for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(5)) {
      const notice = this.of(word)[count - 1];
      if (notice !== undefined) return notice;
    }
    throw new Error(`${word} was not heard ${count} times in ${JSON.stringify(this.notices)}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }

  async #listen(): Promise<void> {
    let rest = "";
    for await (const text of this.#process.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        const said: "bound" | Notice = JSON.parse(line);
        if (said === "bound") this.#bound.resolve();
        else this.notices.push(said);
      }
    }
  }
}

export const startManager = async (address: string): Promise<Manager> => {
  const manager = new Manager(address);
  await manager.bound;
  return manager;
};
