/** What the kernel knows of a process: its memory, its processor time, its open files. */
import { readdirSync, readFileSync } from "node:fs";

/** MiB in memory: VmRSS. */
export const memoryMib = (pid: number): number => {
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) / 1024;
};

/** ms of processor time since its start, in steps of 10. */
export const processorMs = (pid: number): number => {
  const fields = readFileSync(`/proc/${pid}/stat`, "latin1").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) * 10;
};

/** Share of one processor that a process takes during `ms`. */
export const processorShare = async (pid: number, ms: number): Promise<number> => {
  const before = processorMs(pid);
  const started = performance.now();
  await Bun.sleep(ms);
  return (processorMs(pid) - before) / (performance.now() - started);
};

export const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

/** A zombie counts as gone: it is its parent's to reap. */
export const isAlive = (pid: number): boolean => {
  try {
    return /\) [^ZX]/.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
};

/** Those of the processes that do not go within the time that a process needs to be gone once it is killed. */
export const stillAlive = async (pids: readonly number[]): Promise<number[]> => {
  const deadlineMs = performance.now() + 5_000;
  let alive = pids.filter(isAlive);
  while (alive.length > 0 && performance.now() < deadlineMs) {
    await Bun.sleep(20);
    alive = alive.filter(isAlive);
  }
  return alive;
};
