/** How things are measured: tasks a second and their ms by the clock, and by the kernel what processes have taken for them. */
import { readdirSync, readFileSync } from "node:fs";

/** Sends one request; the answer calls back. */
export type Ask = (answered: () => void) => void;

export interface Measured {
  /** tasks a second */
  readonly rate: number;
  /** ms of each task */
  readonly latencies: readonly number[];
}

/** Asks `count` times, with `window` of them in flight. */
export const measure = async (ask: Ask, window: number, count: number): Promise<Measured> => {
  const latencies: number[] = [];
  const done = Promise.withResolvers<void>();
  let asked = 0;
  const next = (): void => {
    asked++;
    const askedMs = performance.now();
    ask(() => {
      latencies.push(performance.now() - askedMs);
      if (asked < count) next();
      else if (latencies.length === count) done.resolve();
    });
  };
  const startedMs = performance.now();
  for (let index = 0; index < Math.min(window, count); index++) next();
  await done.promise;
  return { rate: (count / (performance.now() - startedMs)) * 1000, latencies };
};

export const quantile = (values: readonly number[], share: number): number =>
  values.toSorted((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * share))] ?? 0;

export const median = (values: readonly number[]): number => quantile(values, 0.5);

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0);

/** Something of each thread of some processes, by the thread's folder. */
type OfThreads = ReadonlyMap<string, number>;

const ofThreads = (pids: readonly number[], read: (folder: string) => number): OfThreads => {
  const found = new Map<string, number>();
  for (const pid of pids) {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      const folder = `/proc/${pid}/task/${thread}`;
      try {
        found.set(folder, read(folder));
      } catch {
        // It has ended meanwhile.
      }
    }
  }
  return found;
};

/** What has been added since. What a thread that has ended did after `before` is not known, and not counted. */
export const increase = (before: OfThreads, after: OfThreads): number =>
  sum([...after].map(([folder, count]) => count - (before.get(folder) ?? 0)));

/** ms that the threads of processes have had a processor since their start. */
export const processorMs = (pids: readonly number[]): OfThreads =>
  ofThreads(pids, (thread) => Number(readFileSync(`${thread}/schedstat`, "latin1").split(" ")[0]) / 1e6);

/** How often the threads of processes have gone to sleep, and so were woken, since their start. */
export const wakeUps = (pids: readonly number[]): OfThreads =>
  ofThreads(pids, (thread) =>
    Number(/^voluntary_ctxt_switches:\s+(\d+)/m.exec(readFileSync(`${thread}/status`, "latin1"))?.[1]),
  );

/** MiB of memory that processes have for themselves, and their parts of what they share: PSS. */
export const memoryMib = (pids: readonly number[]): number =>
  sum(pids.map((pid) => Number(/^Pss:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, "latin1"))?.[1]))) /
  1024;
