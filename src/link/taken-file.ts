/**
 * The jobs that this robot has taken from the fleet and that must not begin twice, on the disk of
 * the robot: lines of `taken JOB CLAIM`, `begun JOB ENGINE-JOB` and `ended JOB`. A line is on the
 * disk before what it allows is done. The last lines of a file that a power cut has torn are
 * ignored.
 */
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rename, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { linkTakenBytesMax, linkTakenMax } from "../limits.ts";

export interface TakenJob {
  /** As in the job's state. */
  readonly claim: string;
  /** The engine's id of the job, once it is known. */
  begun: string | null;
  hasEnded: boolean;
}

export class TakenFile {
  /** The oldest first. */
  readonly #jobs = new Map<string, TakenJob>();
  #file: FileHandle | null = null;
  #lines = 0;
  /** Writes go one after another. */
  #last: Promise<unknown> = Promise.resolve();

  /** @param path null: nothing is kept, and nothing can be taken */
  constructor(readonly path: string | null) {}

  /** Reads what an earlier link has taken. Rejects with the error of the disk. */
  async load(): Promise<void> {
    const { path } = this;
    if (path === null) return;
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const found = await stat(path).catch(unlessMissing);
    if (found === null) return;
    if (found.size > linkTakenBytesMax) throw new Error(`${path} has ${found.size} bytes, more than this link writes`);
    for (const line of (await readFile(path, "utf8")).split("\n").slice(0, -1)) this.#read(line);
  }

  /** Those that have not ended. */
  get open(): [job: string, taken: TakenJob][] {
    return [...this.#jobs].filter(([, { hasEnded }]) => !hasEnded);
  }

  has(job: string): boolean {
    return this.#jobs.has(job);
  }

  /** Resolves once it is on the disk. Rejects with the error of the disk: then nothing is taken. */
  async take(job: string, claim: string): Promise<void> {
    if (this.path === null) throw new Error("this link has no folder; give it one by --state");
    this.#jobs.set(job, { claim, begun: null, hasEnded: false });
    try {
      await this.#write(`taken ${job} ${claim}`);
    } catch (error) {
      this.#jobs.delete(job);
      throw error;
    }
  }

  /** Resolves once it is on the disk. */
  async begin(job: string, engineJob: string): Promise<void> {
    const taken = this.#jobs.get(job);
    if (taken === undefined) return;
    taken.begun = engineJob;
    await this.#write(`begun ${job} ${engineJob}`);
  }

  /** Its end is known to the fleet, or it was not taken after all. */
  async end(job: string, wasTaken = true): Promise<void> {
    const taken = this.#jobs.get(job);
    if (taken === undefined) return;
    taken.hasEnded = true;
    if (!wasTaken) this.#jobs.delete(job);
    await this.#write(`${wasTaken ? "ended" : "left"} ${job}`);
  }

  async close(): Promise<void> {
    await this.#last;
    await this.#file?.close();
    this.#file = null;
  }

  #read(line: string): void {
    const [word, job = "", more = ""] = line.split(" ");
    const taken = this.#jobs.get(job);
    if (word === "taken") this.#jobs.set(job, { claim: more, begun: null, hasEnded: false });
    else if (taken === undefined) return;
    else if (word === "begun") taken.begun = more;
    else if (word === "ended") taken.hasEnded = true;
    else if (word === "left") this.#jobs.delete(job);
  }

  #write(line: string): Promise<void> {
    const writing = this.#last.then(() => this.#append(line));
    this.#last = writing.catch(() => undefined);
    return writing;
  }

  async #append(line: string): Promise<void> {
    try {
      if (this.#file === null || this.#lines >= 2 * linkTakenMax) return await this.#rewrite();
      await this.#file.appendFile(`${line}\n`);
      await this.#file.datasync();
      this.#lines++;
    } catch (error) {
      // Half a line may be there: the next one begins a new file.
      await this.#file?.close().catch(() => undefined);
      this.#file = null;
      throw error;
    }
  }

  /** Writes all that is known into a new file, without the oldest of those that have ended. */
  async #rewrite(): Promise<void> {
    const path = this.path ?? "";
    for (const [job, { hasEnded }] of this.#jobs) {
      if (this.#jobs.size <= linkTakenMax) break;
      if (hasEnded) this.#jobs.delete(job);
    }
    const lines = [...this.#jobs].flatMap(([job, { claim, begun, hasEnded }]) => [
      `taken ${job} ${claim}`,
      ...(begun === null ? [] : [`begun ${job} ${begun}`]),
      ...(hasEnded ? [`ended ${job}`] : []),
    ]);
    await this.#file?.close();
    this.#file = null;
    const flags = constants.O_WRONLY | constants.O_CREAT | constants.O_TRUNC | constants.O_NOFOLLOW;
    const file = await open(`${path}.new`, flags, 0o600);
    try {
      await file.writeFile(lines.map((line) => `${line}\n`).join(""));
      await file.sync();
      await rename(`${path}.new`, path);
      const folder = await open(dirname(path), "r");
      await folder.sync().finally(() => folder.close());
    } catch (error) {
      await file.close();
      throw error;
    }
    this.#file = file;
    this.#lines = lines.length;
  }
}

const unlessMissing = (error: NodeJS.ErrnoException): null => {
  if (error.code === "ENOENT") return null;
  throw error;
};
