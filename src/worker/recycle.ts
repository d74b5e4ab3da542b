/**
 * When a worker is to be replaced, so that a task that leaks does not fill the machine. Off unless
 * it is configured.
 *
 * The memory that counts is the resident memory of the worker's own process, as `ps` shows it: with
 * the pages of the program and the connections, which it shares with other processes, and without
 * its children. It is measured after each job that was not short, after short ones once they add up
 * to as much, and with the beats. A running job is never ended for it: the worker takes no further
 * one, and is replaced when that job has ended.
 */
import { beatIntervalMs, recycleLookMs } from "../limits.ts";
import { warn } from "../process/log.ts";
import { Pulse } from "../transport/pulse.ts";

export interface RecycleLimits {
  /** jobs; null for no limit */
  readonly jobsMax: number | null;
  /** bytes of resident memory; null for no limit */
  readonly memoryBytesMax: number | null;
}

export class RecycleRule implements Disposable {
  readonly #looks: Pulse | null;
  #jobs = 0;
  /** ms of jobs since the last look at the memory */
  #unseenMs = 0;
  #isOver = false;

  /**
   * To be made when all tasks are loaded.
   * @param onOver called once
   * @param tag begins the warning that a limit is exceeded before the first job
   */
  constructor(
    private readonly limits: RecycleLimits,
    private readonly onOver: (why: string) => void,
    tag: string,
    lookEveryMs = beatIntervalMs,
  ) {
    const { memoryBytesMax } = limits;
    this.#looks = memoryBytesMax === null ? null : new Pulse(lookEveryMs, () => this.#look(memoryBytesMax));
    const bytes = memoryBytesMax === null ? 0 : process.memoryUsage.rss();
    if (memoryBytesMax === null || bytes <= memoryBytesMax) return;
    const excess = `${mib(bytes)} MiB of memory before its first job, more than ${limitOf(memoryBytesMax)}`;
    warn(`${tag} Holds ${excess}: it will be replaced again and again, until that is raised`);
  }

  /** @param ms that the job ran */
  jobEnded(ms: number): void {
    if (this.#isOver) return;
    this.#jobs++;
    const { jobsMax, memoryBytesMax } = this.limits;
    if (jobsMax !== null && this.#jobs >= jobsMax) return this.#over(`it has run ${this.#jobs} jobs`);
    if (memoryBytesMax === null) return;
    this.#unseenMs += ms;
    // Measuring costs as much as a short job.
    if (this.#unseenMs >= recycleLookMs) this.#look(memoryBytesMax);
  }

  [Symbol.dispose](): void {
    this.#looks?.[Symbol.dispose]();
  }

  #look(bytesMax: number): void {
    // A worker that is too large before its first job would be replaced without ever running one.
    if (this.#isOver || this.#jobs === 0) return;
    this.#unseenMs = 0;
    const bytes = process.memoryUsage.rss();
    if (bytes > bytesMax) this.#over(`it holds ${mib(bytes)} MiB of memory, more than ${limitOf(bytesMax)}`);
  }

  #over(why: string): void {
    this.#isOver = true;
    this[Symbol.dispose]();
    this.onOver(why);
  }
}

const mib = (bytes: number): number => Math.round(bytes / 2 ** 20);

const limitOf = (bytesMax: number): string => `--worker-memory-max ${mib(bytesMax)}`;
