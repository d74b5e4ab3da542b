/** When a worker has done its share: a task that leaks must not fill the machine. Off unless it is configured. */
import { recycleCheckJobs } from "../limits.ts";

export interface RecycleLimits {
  /** jobs; null for no limit */
  readonly jobsMax: number | null;
  /** bytes of resident memory; null for no limit */
  readonly memoryBytesMax: number | null;
}

export class RecycleRule {
  #jobs = 0;
  #isOver = false;

  constructor(
    private readonly limits: RecycleLimits,
    /** Called once. */
    private readonly onOver: (why: string) => void,
  ) {}

  jobEnded(): void {
    if (this.#isOver) return;
    this.#jobs++;
    const { jobsMax, memoryBytesMax } = this.limits;
    if (jobsMax !== null && this.#jobs >= jobsMax) this.#over(`it has run ${this.#jobs} jobs`);
    // Asking the system costs more than a short job does.
    else if (memoryBytesMax !== null && this.#jobs % recycleCheckJobs === 0) this.#checkMemory(memoryBytesMax);
  }

  #checkMemory(bytesMax: number): void {
    const bytes = process.memoryUsage.rss();
    if (bytes > bytesMax) this.#over(`it holds ${Math.round(bytes / 2 ** 20)} MiB of memory`);
  }

  #over(why: string): void {
    this.#isOver = true;
    this.onOver(why);
  }
}
