/**
 * An engine under load to which everything happens, and the books that are kept of it: every call with when and how it ended,
 * every run of a job with when it began. The engine's state folder is a small disk of its own, which can be filled.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Client, connect, TaskEngineError } from "task-engine";
import { monotonicMs } from "./clock.ts";
import { type Engine, startEngine } from "./engine.ts";
import { freePorts } from "./ports.ts";
import { isAlive, stillAlive } from "./proc.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

const clientsCount = 4;
const callsInFlight = 16;
/** ms. A call that is not answered by then never is. */
const answerMsMax = 60_000;
const diskKib = 256;

/** `mark` notes when it begins, and takes up to 20 ms; `make safe` runs at each emergency stop. */
const tasks = `
import { appendFileSync } from "node:fs";
import { monotonicMs } from ${JSON.stringify(join(import.meta.dir, "clock.ts"))};
const note = (name, text) => appendFileSync(import.meta.dir + "/../" + name, text + "\\n");
export const task_mark = async ([uid, ms]) => {
  note("runs", uid + " " + monotonicMs());
  if (ms > 0) await Bun.sleep(ms);
  return uid;
};
`;

/** How one call ended: at which `monotonicMs`, with which code (null for a result). */
interface Told {
  readonly atMs: number;
  readonly code: string | null;
}

export interface Books {
  readonly calls: number;
  readonly answered: number;
  /** Calls that ended with an error, by code. */
  readonly refused: Readonly<Record<string, number>>;
  /** Calls without an outcome. */
  readonly unanswered: number;
  /** Calls with a result whose job has not run. */
  readonly lost: number;
  /** Jobs that have run more than once. */
  readonly doubled: number;
  /** Jobs that began after their requestor was told that they had failed: by how many ms, the longest last. */
  readonly begunAfterToldMs: readonly number[];
}

export class ChaosRobot implements AsyncDisposable {
  readonly #folder: TempFolder;
  readonly #first = freePorts(5);
  readonly #clients: Client[] = [];
  readonly #told = new Map<number, Told>();
  readonly #callers: Promise<void>[] = [];
  #engine: Engine | null = null;
  #calls = 0;
  #unanswered = 0;
  #isOver = false;

  /** Whether the state folder is a disk of its own; it takes root to make one. */
  readonly hasDisk: boolean;

  static async start(): Promise<ChaosRobot> {
    const robot = new ChaosRobot(tempFolder({ "tasks/mark.ts": tasks, runs: "" }));
    await robot.startEngine();
    return robot;
  }

  private constructor(folder: TempFolder) {
    this.#folder = folder;
    mkdirSync(this.#state, { mode: 0o700 });
    const mount = ["mount", "-t", "tmpfs", "-o", `size=${diskKib}k,mode=700`, "tmpfs", this.#state];
    this.hasDisk = Bun.spawnSync(mount, { stderr: "ignore" }).success;
  }

  get engine(): Engine {
    if (this.#engine === null) throw new Error("there is no engine");
    return this.#engine;
  }

  get endpoint(): string {
    return `tcp://127.0.0.1:${this.#first}`;
  }

  /** Ports that anybody can connect to: the router's two, the workers' three. */
  get ports(): readonly number[] {
    return Array.from({ length: 5 }, (_, index) => this.#first + index);
  }

  async startEngine(): Promise<void> {
    const flags = ["--restarts-max", "1000"];
    this.#engine = await startEngine({ cwd: this.#folder.path, state: this.#state, first: this.#first, flags });
  }

  /** SIGKILL to the supervisor, or to all of it at once; then an engine in its place, as systemd would start one. */
  async killAndRestart(what: "supervisor" | "everything"): Promise<void> {
    const { engine } = this;
    const pids = [engine.pid, ...engine.childPids].filter(isAlive);
    for (const pid of what === "everything" ? pids : [engine.pid]) process.kill(pid, "SIGKILL");
    await engine.ended();
    if (what === "everything") await stillAlive(pids);
    await this.startEngine();
  }

  /** Calls come from now on until `settle`. */
  load(): void {
    this.#clients.push(...Array.from({ length: clientsCount }, () => connect(this.endpoint)));
    this.#callers.push(
      ...this.#clients.flatMap((client) => Array.from({ length: callsInFlight }, () => this.#callOn(client))),
    );
  }

  /** No more calls; resolves when each that was made has ended. */
  async settle(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#callers);
    await Promise.all(this.#clients.splice(0).map((client) => client.close()));
  }

  /** One connection for one thing. */
  async ask<Result>(work: (client: Client) => Promise<Result>): Promise<Result> {
    await using client = connect(this.endpoint);
    return await work(client);
  }

  /** ms of `monotonicMs` at which jobs have begun, by uid. */
  runs(): ReadonlyMap<number, readonly number[]> {
    const runs = new Map<number, number[]>();
    for (const line of readFileSync(this.#folder.at("runs"), "latin1").trimEnd().split("\n")) {
      const [uid, atMs] = line.split(" ").map(Number);
      if (uid !== undefined && atMs !== undefined) runs.set(uid, [...(runs.get(uid) ?? []), atMs]);
    }
    return runs;
  }

  books(): Books {
    const runs = this.runs();
    const refused: Record<string, number> = {};
    const begunAfterToldMs: number[] = [];
    let answered = 0;
    let lost = 0;
    for (const [uid, { atMs, code }] of this.#told) {
      const begunMs = runs.get(uid) ?? [];
      if (code === null) {
        answered++;
        if (begunMs.length === 0) lost++;
        continue;
      }
      refused[code] = (refused[code] ?? 0) + 1;
      begunAfterToldMs.push(...begunMs.map((begun) => begun - atMs).filter((ms) => ms > 0));
    }
    return {
      calls: this.#calls,
      answered,
      refused,
      unanswered: this.#unanswered,
      lost,
      doubled: [...runs.values()].filter((begun) => begun.length > 1).length,
      begunAfterToldMs: begunAfterToldMs.sort((a, b) => a - b),
    };
  }

  /** MiB of all processes of the engine together: PSS. */
  memoryMib(): number {
    const pids = [this.engine.pid, ...this.engine.childPids].filter(isAlive);
    const kib = pids.map((pid) =>
      Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1]),
    );
    return kib.reduce((sum, each) => sum + each) / 1024;
  }

  fillDisk(): void {
    for (const bytes of [4096, 1]) {
      for (let count = 0; ; count++) {
        try {
          writeFileSync(join(this.#state, `filler-${bytes}-${count}`), new Uint8Array(bytes));
        } catch (failure) {
          if ((failure as NodeJS.ErrnoException).code === "ENOSPC") break;
          throw failure;
        }
      }
    }
  }

  emptyDisk(): void {
    for (const name of new Bun.Glob("filler-*").scanSync({ cwd: this.#state })) rmSync(join(this.#state, name));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.#folder;
    try {
      await this.settle();
      await this.#engine?.[Symbol.asyncDispose]();
    } finally {
      if (this.hasDisk) Bun.spawnSync(["umount", this.#state]);
    }
  }

  get #state(): string {
    return this.#folder.at("state");
  }

  async #callOn(client: Client): Promise<void> {
    while (!this.#isOver) {
      const uid = ++this.#calls;
      const call = this.#call(client, uid);
      const outcome = await Promise.race([call, Bun.sleep(answerMsMax)]);
      if (outcome === undefined) this.#unanswered++;
      else this.#told.set(uid, outcome);
      // Who is refused asks again a little later, as a program would.
      if (outcome?.code !== null) await Bun.sleep(20);
    }
  }

  async #call(client: Client, uid: number): Promise<Told> {
    try {
      await client.call("mark", [uid, uid % 10 === 0 ? 20 : 0]);
      return { atMs: monotonicMs(), code: null };
    } catch (error) {
      if (!(error instanceof TaskEngineError)) throw error;
      return { atMs: monotonicMs(), code: error.code };
    }
  }
}
