/** A supervisor on a terminal of its own, which can go: `await using host = superviseOnTerminal(folder.at("out"))`. */
import { existsSync, readFileSync } from "node:fs";
import { stillAlive } from "./proc.ts";
import { supervision } from "./supervise.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 30_000;

export class TerminalHost implements AsyncDisposable {
  readonly #process: Bun.Subprocess;

  /** @param out file for what it prints: the terminal will not be there to the end */
  constructor(
    private readonly out: string,
    launcher: readonly string[],
  ) {
    const host = [...launcher, ...supervision, "host", "{}"];
    this.#process = Bun.spawn(["sh", "-c", 'exec "$@" >"$OUT" 2>&1', "sh", ...host], {
      env: { PATH: process.env.PATH ?? "", HOME: process.env.HOME ?? "", OUT: out, TASK_ENGINE_STATE: `${out}.state` },
      // Of its own: one that is made apart keeps its terminal when it is closed.
      terminal: { cols: 80, rows: 24 },
    });
  }

  get lines(): string[] {
    return existsSync(this.out) ? readFileSync(this.out, "utf8").split("\n") : [];
  }

  async line(pattern: RegExp): Promise<string> {
    for (const deadlineMs = performance.now() + patienceMs; performance.now() < deadlineMs; await Bun.sleep(10)) {
      const found = this.lines.find((line) => pattern.test(line));
      if (found !== undefined) return found;
    }
    throw new Error(`no line like ${pattern} in:\n${this.lines.join("\n")}`);
  }

  signal(signal: NodeJS.Signals): void {
    this.#process.kill(signal);
  }

  closeTerminal(): void {
    this.#process.terminal?.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.signal("SIGKILL");
    await this.#process.exited;
    this.closeTerminal();
    const pids = this.lines.flatMap((line) => /^Starting process \[(\d+)\]/.exec(line)?.slice(1).map(Number) ?? []);
    const left = await stillAlive(pids);
    for (const pid of left) process.kill(pid, "SIGKILL");
    if (left.length > 0) throw new Error(`the supervisor left processes behind: ${left}:\n${this.lines.join("\n")}`);
  }
}

/** @param launcher what starts it, such as `nohup` */
export const superviseOnTerminal = (out: string, ...launcher: readonly string[]): TerminalHost =>
  new TerminalHost(out, launcher);
