/** One process of this program that runs on: `await using worker = runProgram(["worker", …])`. */
import { homedir } from "node:os";
import { taskEngine } from "./executable.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 60_000;

export class Program implements AsyncDisposable {
  /** Lines of stdout and of stderr so far. */
  readonly lines: string[] = [];
  readonly errorLines: string[] = [];
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #outputEnded: Promise<unknown>;

  constructor(args: readonly string[]) {
    const env = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? homedir() };
    this.#process = Bun.spawn([...taskEngine, ...args], { env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const { stdout, stderr } = this.#process;
    this.#outputEnded = Promise.all([follow(stdout, this.lines), follow(stderr, this.errorLines)]);
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** The first line, of those printed and those to come, that `pattern` fits. */
  async line(pattern: RegExp): Promise<string> {
    for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(10)) {
      const found = [...this.lines, ...this.errorLines].find((line) => pattern.test(line));
      if (found !== undefined) return found;
    }
    throw new Error(`no line like ${pattern} in:\n${[...this.lines, ...this.errorLines].join("\n")}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Waits for its end; the exit code, or the signal's name. */
  async ended(): Promise<number | string> {
    const timer = setTimeout(() => this.signal("SIGKILL"), patienceMs);
    await this.#process.exited;
    clearTimeout(timer);
    await this.#outputEnded;
    return this.#process.signalCode ?? this.#process.exitCode ?? "unknown";
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGKILL");
    await this.#process.exited;
  }
}

export const runProgram = (args: readonly string[]): Program => new Program(args);

const follow = async (stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> => {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const bytes of stream) {
    const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
    rest = parts.pop() ?? "";
    lines.push(...parts);
  }
  if (rest !== "") lines.push(rest);
};
