/** A real engine for a test: `await using engine = await startEngine()`. What it leaves behind fails the test. */
import { homedir } from "node:os";
import { taskEngine } from "./executable.ts";
import { freePorts } from "./ports.ts";
import { isAlive, stillAlive } from "./proc.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

export interface EngineOptions {
  /** How `task-engine` is called, if not as the executable. */
  readonly command?: readonly string[];
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The folder it is started in. */
  readonly cwd?: string;
  /** How many processes of all kinds of workers it is told to have, if not 3. */
  readonly workers?: number;
  /** Its state folder, if it is to outlive the engine. */
  readonly state?: string;
  /** Whether it has a session, and so a process group, of its own. */
  readonly isGroupLeader?: boolean;
  /** The first of the free ports that it takes, for an engine that comes back where another was. */
  readonly first?: number;
}

export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** ms. Nothing takes as long, not even under emulation; a test that gets there has failed. */
const patienceMs = 60_000;

/** What a shell has at least. Without HOME, Bun would keep what it has transpiled in /tmp, for good. */
const shellVariables = { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? homedir() };

/** For the data workers of any test. */
const dataPorts = 8;

const anyPort = { frontend: 0, backend: 0, worker: 0, data: 0 };

/** Flags of an engine with the fewest workers that run a task; each process that starts costs a test. */
export const oneWorker: readonly string[] = ["--task-workers", "1", "--data-workers", "0"];

export class Engine implements AsyncDisposable {
  /** Lines of stdout and of stderr so far. */
  readonly lines: string[] = [];
  readonly errorLines: string[] = [];
  readonly ports: typeof anyPort;
  readonly endpoint: string;
  readonly #options: EngineOptions;
  readonly #process: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #outputEnded: Promise<unknown>;
  /** The state folder where none was given: gone with the engine. */
  readonly #state: TempFolder | null;
  #isOutputOver = false;

  /** @param ports 2 task workers and 1 data worker have `worker` and the two after it */
  constructor(options: EngineOptions, ports: typeof anyPort) {
    this.#options = options;
    this.ports = ports;
    this.endpoint = `tcp://127.0.0.1:${ports.frontend}`;
    this.#state = options.state === undefined ? tempFolder() : null;
    const flags = [
      "--port",
      ports.frontend,
      "--backend-port",
      ports.backend,
      "--worker-port",
      ports.worker,
      "--data-port",
      ports.data,
    ];
    this.#process = Bun.spawn([...this.#command, "serve", ...flags.map(String), ...(options.flags ?? [])], {
      ...this.#surroundings,
      stdin: "ignore",
      stdout: "pipe",
      stderr: "pipe",
      detached: options.isGroupLeader === true,
    });
    this.#outputEnded = Promise.all([
      this.#follow(this.#process.stdout, this.lines),
      this.#follow(this.#process.stderr, this.errorLines),
    ]).then(() => {
      this.#isOutputOver = true;
    });
  }

  /** Where it keeps what outlives it. */
  get state(): string {
    return this.#options.state ?? this.#state?.path ?? "";
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** Process ids of all children that it has spoken of, dead ones included. */
  get childPids(): number[] {
    return this.lines.flatMap((line) => /^Starting process \[(\d+)\]/.exec(line)?.slice(1).map(Number) ?? []);
  }

  /** Process ids of the living children of a role, such as `task worker`. */
  pidsOf(role: string): number[] {
    const started = this.lines.filter((line) => line.startsWith("Starting process [") && line.endsWith(`]: ${role}`));
    return started.map((line) => Number(/\d+/.exec(line)?.[0])).filter(isAlive);
  }

  /** The first line, of those printed and those to come, that `pattern` fits. Rejects when the output ends without it. */
  async line(pattern: RegExp): Promise<string> {
    for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(10)) {
      const isOver = this.#isOutputOver;
      const found = [...this.lines, ...this.errorLines].find((line) => pattern.test(line));
      if (found !== undefined) return found;
      if (isOver) break;
    }
    throw new Error(`no line like ${pattern} from the engine, which printed:\n${this.#said}`);
  }

  /** Runs another verb against this engine, in the same folder and environment. */
  run(...args: readonly string[]): Promise<CommandResult> {
    return runCommand(this.#command, args, this.#surroundings);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  /** Waits for its end, and until all it has printed is in `lines`. Resolves to the exit code, or the signal's name. */
  async ended(): Promise<number | string> {
    await Promise.race([this.#process.exited, rejectLater(() => `the engine did not end; it printed:\n${this.#said}`)]);
    await this.#outputEnded;
    return this.#process.signalCode ?? this.#process.exitCode ?? "unknown";
  }

  /** Stops it if it still runs; throws if it did not stop, or if one of its children is still there. */
  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.#state;
    const isRunning = this.#process.exitCode === null && this.#process.signalCode === null;
    if (isRunning) this.signal("SIGTERM");
    try {
      await this.ended();
    } finally {
      this.signal("SIGKILL");
    }
    const left = await stillAlive(this.childPids);
    for (const pid of left) process.kill(pid, "SIGKILL");
    if (left.length > 0) throw new Error(`the engine left processes behind: ${left}; it printed:\n${this.#said}`);
  }

  get #command(): readonly string[] {
    return this.#options.command ?? taskEngine;
  }

  get #surroundings() {
    const { env = shellVariables, cwd } = this.#options;
    return { env: { TASK_ENGINE_STATE: this.state, ...env }, ...(cwd === undefined ? {} : { cwd }) };
  }

  get #said(): string {
    return [...this.lines, ...this.errorLines].map((line) => `  | ${line}`).join("\n");
  }

  async #follow(stream: ReadableStream<Uint8Array>, lines: string[]): Promise<void> {
    const decoder = new TextDecoder();
    let rest = "";
    for await (const bytes of stream) {
      const parts = (rest + decoder.decode(bytes, { stream: true })).split("\n");
      rest = parts.pop() ?? "";
      lines.push(...parts);
    }
    if (rest !== "") lines.push(rest);
  }
}

/** Starts an engine on free ports and waits until it says that it is ready. */
export const startEngine = async (options: EngineOptions = {}): Promise<Engine> => {
  const first = options.first ?? freePorts(2 + (options.workers ?? 3));
  const engine = new Engine(options, {
    frontend: first,
    backend: first + 1,
    worker: first + 2,
    data: freePorts(dataPorts),
  });
  try {
    await engine.line(/ready/i);
  } catch (error) {
    await engine[Symbol.asyncDispose]();
    throw error;
  }
  return engine;
};

/** Runs `task-engine` once, to its end. */
export const runCommand = async (
  command: readonly string[],
  args: readonly string[],
  surroundings: { env: Record<string, string>; cwd?: string },
): Promise<CommandResult> => {
  const child = Bun.spawn([...command, ...args], { ...surroundings, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const timer = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  const [exitCode, stdout, stderr] = await Promise.all([child.exited, child.stdout.text(), child.stderr.text()]);
  clearTimeout(timer);
  return { exitCode, stdout, stderr };
};

const rejectLater = (message: () => string): Promise<never> =>
  new Promise((_, reject) => {
    setTimeout(() => reject(new Error(message())), patienceMs).unref();
  });
