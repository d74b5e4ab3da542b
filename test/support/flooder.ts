/** Floods an engine from a process of its own: see flooder-host.ts. */
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { Readable } from "node:stream";

export class Flooder implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #lines: AsyncIterableIterator<string>;
  readonly #reader: Interface;
  #isOn = false;

  constructor(endpoint: string, task: string) {
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "flooder-host.ts"), endpoint, task], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#reader = createInterface({ input: Readable.fromWeb(this.#process.stdout as never) });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** Resolves when it has got an answer, so that the engine has its hands full. */
  async on(): Promise<void> {
    this.#isOn = true;
    await this.#turn("floods");
  }

  /** Resolves when the engine has read all that it has sent. */
  async off(): Promise<void> {
    if (!this.#isOn) return;
    this.#isOn = false;
    await this.#turn("calm");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#reader.close();
  }

  async #turn(word: string): Promise<void> {
    this.#process.stdin.write("\n");
    this.#process.stdin.flush();
    const { value } = await this.#lines.next();
    if (value?.includes(word) !== true) throw new Error(`the flood was to say ${word}, and said ${value}`);
  }
}
