/** An engine to be stopped by an emergency stop, idle or with all the load that it takes, and when what happened in it then. */
import { readFileSync, truncateSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect } from "../../src/client/client.ts";
import { Asker } from "./asker.ts";
import { monotonicMs } from "./clock.ts";
import { type Engine, startEngine } from "./engine.ts";
import { Flooder } from "./flooder.ts";
import { isAlive } from "./proc.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

/** ms. A test that waits as long has failed. */
const patienceMs = 60_000;
export const taskWorkers = 2;
const jobsQueued = 10_000;

/** Tasks that note in the file `RECORD` what they do and when. */
const tasks = `
import { appendFileSync } from "node:fs";
import { monotonicMs } from ${JSON.stringify(join(import.meta.dir, "clock.ts"))};
const note = (what, at = monotonicMs()) => appendFileSync(process.env.RECORD, what + " " + at + "\\n");
export const task_drive = async (args, kwargs, { signal }) => {
  note("drive");
  const at = await new Promise((resolve) => signal.addEventListener("abort", () => resolve(monotonicMs())));
  note("abort", at);
};
export const task_loop = () => {
  note("loop");
  note("pid", process.pid);
  for (;;);
};
export const task_step = () => note("step");
`;

export class Stoppable implements AsyncDisposable {
  /** Its own connection: nothing of the test's is before its command. */
  readonly client: Client;
  /** Workers that were killed since they had not heard in time. */
  killed = 0;
  readonly #asker: Asker;
  #flooder: Flooder | null = null;

  private constructor(
    readonly engine: Engine,
    private readonly folder: TempFolder,
  ) {
    this.client = connect(engine.endpoint);
    this.#asker = new Asker(engine.endpoint);
  }

  static async start(): Promise<Stoppable> {
    const folder = tempFolder({ "tasks/drive.ts": tasks, record: "" });
    await Bun.write(folder.at("task-engine.toml"), `[env]\nRECORD = ${JSON.stringify(folder.at("record"))}\n`);
    return new Stoppable(await startEngine({ cwd: folder.path }), folder);
  }

  /** ms of `monotonicMs` at which this was noted, in the order of the notes. */
  noted(what: string): number[] {
    const lines = readFileSync(this.folder.at("record"), "utf8").split("\n");
    return lines.filter((line) => line.startsWith(`${what} `)).map((line) => Number(line.split(" ")[1]));
  }

  async untilNoted(what: string, count: number): Promise<number[]> {
    await until(`${count} notes of ${what}`, () => this.noted(what).length >= count);
    return this.noted(what);
  }

  /** Both workers run these tasks, and nothing waits. Gives the serials. */
  async busy(...names: readonly ("drive" | "loop")[]): Promise<string[]> {
    truncateSync(this.folder.at("record"));
    const serials = names.map((name) => this.#asker.send(name));
    for (const name of new Set(names)) await this.untilNoted(name, names.filter((other) => other === name).length);
    return serials;
  }

  /**
   * ms of `monotonicMs` at which the last of these workers was told to end what it drives. One that had no time to hear it within its
   * grace is killed: then that.
   */
  async allTold(workers: readonly number[]): Promise<number> {
    const dead = (): number => workers.filter((pid) => !isAlive(pid)).length;
    await until("all told or killed", () => this.noted("abort").length + dead() >= workers.length);
    this.killed += dead();
    return dead() > 0 ? monotonicMs() : Math.max(...this.noted("abort"));
  }

  /** 10,000 jobs are taken in, and somebody floods the engine with requests until `calm`. Gives the serials of the 10,000. */
  async load(): Promise<string[]> {
    const accepted = async (): Promise<number> => (await this.client.status()).jobs.accepted;
    const before = await accepted();
    const serials = Array.from({ length: jobsQueued }, () => this.#asker.send("step"));
    await until("all taken in", async () => (await accepted()) >= before + jobsQueued);
    this.#flooder ??= new Flooder(this.engine.endpoint, "step");
    await this.#flooder.on();
    return serials;
  }

  /** The flood is over, and the engine has read all of it. */
  async calm(): Promise<void> {
    await this.#flooder?.off();
  }

  /** How these jobs ended: how many of each code, or `done`. */
  async endings(serials: readonly string[]): Promise<Record<string, number>> {
    const counts: Record<string, number> = {};
    for (const serial of serials) {
      const outcome = await this.#asker.outcome(serial);
      const ending = "code" in outcome ? outcome.code : "done";
      counts[ending] = (counts[ending] ?? 0) + 1;
    }
    return counts;
  }

  async reset(): Promise<void> {
    await this.client.reset();
    await until("all workers serve", async () => {
      const { workers } = await this.client.status();
      return workers.filter(({ role }) => role === "task").length === taskWorkers;
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _folder = this.folder;
    using _asker = this.#asker;
    await this.#flooder?.[Symbol.asyncDispose]();
    await this.client.close();
    await this.engine[Symbol.asyncDispose]();
  }
}

export const until = async (what: string, isSo: () => boolean | Promise<boolean>): Promise<void> => {
  for (const overAtMs = performance.now() + patienceMs; performance.now() < overAtMs; await Bun.sleep(5)) {
    if (await isSo()) return;
  }
  throw new Error(`in vain waited for: ${what}`);
};

/** Resolves when none of these processes is alive any more. */
export const allDead = async (pids: readonly number[]): Promise<void> => {
  while (pids.some(isAlive)) await Bun.sleep(1);
};
