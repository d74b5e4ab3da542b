/** A robot whose tasks note what they do: `await using robot = await startRobot("--on-stop", "park")`. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { type Engine, startEngine } from "./engine.ts";
import { type TempFolder, tempFolder } from "./temp-folder.ts";

/** What moves, what cannot be stopped by a word, and what makes all of it safe; each notes what it did. */
const tasks = `
import { appendFileSync, existsSync } from "node:fs";
const note = (line) => appendFileSync(process.env.RECORD, line + "\\n");
export const task_motor = {
  run: async (args, kwargs, { signal }) => {
    note("motor on");
    await new Promise((resolve) => signal.addEventListener("abort", resolve));
  },
  onStop: (context, { code }) => note("motor off for " + code),
};
export const task_spin = () => {
  note("spin on " + process.pid);
  for (;;) Bun.sleepSync(1000);
};
export const task_park = (args, { code }) => {
  note("parked for " + code);
};
export const task_wait = {
  onStopMs: 19_000,
  run: async () => {
    while (!existsSync(process.env.RECORD + ".go")) await Bun.sleep(5);
    note("waited");
  },
};
export const task_hang = () => {
  note("hangs " + process.pid);
  for (;;) Bun.sleepSync(1000);
};
export const task_jammed = {
  run: () => {
    note("jammed on");
    for (;;) Bun.sleepSync(1000);
  },
  onStop: (context, { code }) => note("jammed off for " + code),
};
export const task_turn = async (args, kwargs, { signal }) => {
  note("turns");
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
};
export const task_look = { allowedWhenStopped: true, run: () => "seen" };
`;

/** Flags: a robot of these tests moves, and measures nothing. */
const noData: readonly string[] = ["--data-workers", "0"];

export class Robot implements AsyncDisposable {
  constructor(
    readonly folder: TempFolder,
    readonly engine: Engine,
  ) {}

  get notes(): string[] {
    const path = this.folder.at("record");
    return existsSync(path) ? readFileSync(path, "utf8").trimEnd().split("\n") : [];
  }

  /** The first note like this, and its number if it has one. */
  async noted(pattern: RegExp): Promise<number> {
    for (const overAtMs = performance.now() + 60_000; performance.now() < overAtMs; await Bun.sleep(10)) {
      const found = this.notes.find((note) => pattern.test(note));
      if (found !== undefined) return Number(/\d+$/.exec(found)?.[0]);
    }
    throw new Error(`no note like ${pattern} in:\n${this.notes.join("\n")}`);
  }

  async run(...args: readonly string[]) {
    return this.engine.run(...args, "--router", this.engine.endpoint);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    using _ = this.folder;
    await this.engine[Symbol.asyncDispose]();
  }
}

/** Its tasks and settings; its notes go into the file `record`. */
export const robotFolder = (): TempFolder => {
  const folder = tempFolder({ "tasks/robot.ts": tasks });
  writeFileSync(folder.at("task-engine.toml"), `[env]\nRECORD = ${JSON.stringify(folder.at("record"))}\n`);
  return folder;
};

export const startRobot = async (...flags: string[]): Promise<Robot> => {
  const folder = robotFolder();
  return new Robot(folder, await startEngine({ cwd: folder.path, flags: [...noData, ...flags] }));
};

/** Process id of the only living child of a role. */
export const onlyPid = (engine: Engine, role: string): number => {
  const [pid, ...others] = engine.pidsOf(role);
  if (pid === undefined || others.length > 0) throw new Error(`not one ${role} is alive`);
  return pid;
};
