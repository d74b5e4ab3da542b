/** When a process has died, as a process of its own has seen it: `await using deaths = new Deaths()`. */
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import { Readable } from "node:stream";

export class Deaths implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #reader: Interface;
  readonly #lines: AsyncIterableIterator<string>;

  constructor() {
    this.#process = Bun.spawn([process.execPath, join(import.meta.dir, "deaths-host.ts")], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    this.#reader = createInterface({ input: Readable.fromWeb(this.#process.stdout as never) });
    this.#lines = this.#reader[Symbol.asyncIterator]();
  }

  /** ms of `monotonicMs`, once it is dead. To be asked before it dies, and for one process at a time. */
  async of(pid: number): Promise<number> {
    this.#process.stdin.write(`${pid}\n`);
    this.#process.stdin.flush();
    const { value } = await this.#lines.next();
    const [seen, atMs] = String(value).split(" ").map(Number);
    if (seen !== pid || atMs === undefined) throw new Error(`the death of ${pid} was to be told, and not ${value}`);
    return atMs;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
    this.#reader.close();
  }
}
