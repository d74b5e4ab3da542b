/** A verb that is running: `await using send = startCommand(["send", "slow"], { env })`. */
import { taskEngine } from "./executable.ts";

export interface Surroundings {
  readonly env: Record<string, string>;
  /** What it reads from stdin; a pipe that a test writes to and ends, or nothing. */
  readonly stdin?: "pipe" | "ignore";
  /** Runs it on a terminal, which is its stdin, stdout and stderr. */
  readonly terminal?: boolean;
  /** What goes before it, such as `ip netns exec NAME`. */
  readonly prefix?: readonly string[];
}

/** ms. Nothing takes as long; a test that gets there has failed. */
const patienceMs = 20_000;

export class RunningCommand implements AsyncDisposable {
  readonly #process: Bun.Subprocess;
  readonly #outputs: Promise<unknown>;
  stdout = "";
  stderr = "";

  constructor(args: readonly string[], { env, stdin = "ignore", terminal = false, prefix = [] }: Surroundings) {
    const command = [...prefix, ...taskEngine, ...args];
    if (terminal) {
      const closed = Promise.withResolvers<void>();
      this.#process = Bun.spawn(command, {
        env,
        terminal: {
          cols: 60,
          data: (_, bytes) => {
            this.stdout += Buffer.from(bytes).toString();
          },
          exit: () => closed.resolve(),
        },
      });
      this.#outputs = Promise.race([closed.promise, this.#process.exited.then(() => Bun.sleep(50))]);
      return;
    }
    const child = Bun.spawn(command, { env, stdin, stdout: "pipe", stderr: "pipe" });
    this.#process = child;
    this.#outputs = Promise.all([this.#follow(child.stdout, "stdout"), this.#follow(child.stderr, "stderr")]);
  }

  /** Waits until stdout or stderr has something of this form, and gives it. */
  async shown(pattern: RegExp): Promise<RegExpExecArray> {
    for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(5)) {
      const found = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
      if (found !== null) return found;
      if (this.#process.exitCode !== null) break;
    }
    throw new Error(`nothing like ${pattern} in\n${this.stdout}\nor\n${this.stderr}`);
  }

  /** Writes to its stdin. */
  async write(text: string): Promise<void> {
    const { stdin, terminal } = this.#process;
    if (terminal !== undefined) terminal.write(text);
    else if (typeof stdin === "object") {
      stdin.write(text);
      await stdin.flush();
    }
  }

  async endInput(): Promise<void> {
    if (typeof this.#process.stdin === "object") await this.#process.stdin.end();
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** Its exit code, once all it has printed is here. */
  async ended(): Promise<number> {
    const timer = setTimeout(() => this.signal("SIGKILL"), patienceMs);
    const exitCode = await this.#process.exited;
    clearTimeout(timer);
    await this.#outputs;
    return exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGKILL");
    await this.#process.exited;
    this.#process.terminal?.close();
  }

  async #follow(stream: ReadableStream<Uint8Array>, name: "stdout" | "stderr"): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) this[name] += decoder.decode(bytes, { stream: true });
  }
}

export const startCommand = (args: readonly string[], surroundings: Surroundings): RunningCommand =>
  new RunningCommand(args, surroundings);
