/**
 * Paused tasks and schedules on the disk: the file `paused` in the state folder, from which a start
 * takes them. The router pauses and resumes at once; it is told when that is on the disk.
 */
import { open, readFile, rename } from "node:fs/promises";
import { join } from "node:path";
import * as v from "valibot";
import { latchMs, nameLengthMax, pausedMax } from "../limits.ts";
import { error } from "../process/log.ts";
import type { Pauses, PauseWish } from "../process/messages.ts";
import type { Child } from "./child.ts";
import type { Children } from "./children.ts";
import { syncFolder } from "./latch.ts";
import { late, within } from "./within.ts";

const fileName = "paused";

const listSchema = v.pipe(
  v.array(v.object({ name: v.pipe(v.string(), v.maxLength(nameLengthMax)), since: v.number() })),
  v.maxLength(pausedMax),
);
const fileSchema = v.pipe(v.string(), v.parseJson(), v.object({ tasks: listSchema, schedules: listSchema }));

export class PauseControl {
  readonly #children: Children;
  readonly #folder: string;
  readonly #since: Readonly<Record<PauseWish["of"], Map<string, number>>>;
  /** Serializes the work on the disk. */
  #disk = Promise.resolve();

  /**
   * Resolves with what the last engine has left. A file that cannot be read is renamed, and
   * `damage` says so in one line. Rejects with the error of the file system.
   */
  static async open(folder: string, children: Children): Promise<{ pauses: PauseControl; damage: string | null }> {
    const path = join(folder, fileName);
    const text = await readFile(path, "utf8").catch((failure: Error & { code?: string }) => {
      if (failure.code === "ENOENT") return null;
      throw failure;
    });
    const none: Pauses = { tasks: [], schedules: [] };
    if (text === null) return { pauses: new PauseControl(folder, children, none), damage: null };
    const read = v.safeParse(fileSchema, text);
    if (read.success) return { pauses: new PauseControl(folder, children, read.output), damage: null };
    const aside = `${path}.damaged`;
    await rename(path, aside);
    const damage = `the file of paused tasks was damaged, and is ${aside} now: pause again what has to wait`;
    return { pauses: new PauseControl(folder, children, none), damage };
  }

  private constructor(folder: string, children: Children, { tasks, schedules }: Pauses) {
    this.#folder = folder;
    this.#children = children;
    const byName = (list: Pauses["tasks"]): Map<string, number> => new Map(list.map((it) => [it.name, it.since]));
    this.#since = { task: byName(tasks), schedule: byName(schedules) };
  }

  /** Tells a new child what is paused, before it can begin any of it. */
  brief(child: Child): void {
    const { task, schedule } = this.#since;
    if (task.size + schedule.size > 0) this.#tell(child);
  }

  /**
   * Keeps a change. Resolves with null once it is on the disk, or with why it is not, after
   * `latchMs` at most.
   */
  async keep({ of, name, since }: Omit<PauseWish, "request">): Promise<string | null> {
    const table = this.#since[of];
    const isNew = since === null ? table.delete(name) : table.get(name) !== since;
    if (since !== null) table.set(name, since);
    if (isNew && of === "task") for (const worker of this.#children.taskWorkers) this.#tell(worker);
    const written = await within(this.#write(), latchMs);
    const failure = written === late ? `the disk has not taken it within ${latchMs} ms` : written;
    if (failure !== null) error(`[ENGINE] What is paused will not outlive this engine as it is: ${failure}`);
    return failure;
  }

  /** Resolves when all work on the disk so far is done or has failed. */
  get written(): Promise<void> {
    return this.#disk;
  }

  get #pauses(): Pauses {
    const list = (of: PauseWish["of"]) => [...this.#since[of]].map(([name, since]) => ({ name, since }));
    return { tasks: list("task"), schedules: list("schedule") };
  }

  #tell(child: Child): void {
    const { kind } = child.role;
    if (kind === "router" || kind === "task worker") child.send({ type: "paused", ...this.#pauses });
  }

  /** Resolves with null, or with the error of the file system. */
  #write(): Promise<string | null> {
    const result = this.#disk
      .then(() => replaceFile(join(this.#folder, fileName), this.#pauses, this.#folder))
      .then(
        () => null,
        (failure: Error) => failure.message,
      );
    this.#disk = result.then(() => undefined);
    return result;
  }
}

/** A power cut leaves the file as it was, or as it is to be. */
const replaceFile = async (path: string, { tasks, schedules }: Pauses, folder: string): Promise<void> => {
  const next = `${path}.next`;
  const file = await open(next, "w", 0o600);
  try {
    await file.writeFile(JSON.stringify({ tasks, schedules }));
    await file.sync();
  } finally {
    await file.close();
  }
  await rename(next, path);
  await syncFolder(folder);
};
