/**
 * Finds and kills the descendants of the engine's processes, whatever has become of parents,
 * sessions and environments.
 *
 * Each process of the engine has a mark that its descendants inherit by fork and exec: its soft
 * limit of file locks (RLIMIT_LOCKS of getrlimit(2)), 64 bits that Linux keeps for every process,
 * shows in /proc, and has not used since 2.4.25. A mark is the engine's number and the process's
 * id. A child subreaper would have to be the parent of orphans and to live; marks also serve the
 * router after the supervisor's death, and the next start after a crash.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { killMs } from "../limits.ts";
import { libc } from "../transport/libc.ts";
import { warn } from "./log.ts";

const locksLimit = 10; // RLIMIT_LOCKS
const limitBytes = 16; // struct rlimit: soft and hard
const pidBits = 22n; // PID_MAX_LIMIT of a 64-bit kernel, proc_sys_kernel(5)
/** One less than the rest of 64: a mark must not be RLIM_INFINITY. */
const engineBits = 41;

/** ms between two looks at processes that are dying. */
const lookMs = 1;
/** looks in a row that find none while processes come and go: none is missed each time. */
const vainLooksMax = 8;

/** The same at the next start with this state folder. Throws the errors of stat(2). */
export const engineNumber = (stateFolder: string): bigint => {
  const { dev, ino } = statSync(stateFolder, { bigint: true });
  return numberOf(`${dev}:${ino}`);
};

const numberOf = (text: string): bigint => BigInt.asUintN(engineBits, BigInt(Bun.hash(text)));

/** The number of the engine that this process was marked for; null for none. */
export const ownEngineNumber = (): bigint | null => {
  const limit = new BigUint64Array(new ArrayBuffer(limitBytes));
  if (libc.prlimit(0, locksLimit, null, limit) !== 0) return null;
  const number = (limit[0] ?? 0n) >> pidBits;
  return number < 1n << BigInt(engineBits) ? number : null;
};

/** Returns false if the system refuses: then only its process group is found. */
export const mark = (pid: number, engine: bigint): boolean => {
  const limit = new BigUint64Array(new ArrayBuffer(limitBytes));
  if (libc.prlimit(pid, locksLimit, null, limit) !== 0) return false;
  limit[0] = (engine << pidBits) | BigInt(pid);
  return libc.prlimit(pid, locksLimit, limit, null) === 0;
};

/** Resolves when all descendants of a dead process are killed, or late with a warning. */
export const endDescendantsOf = (pid: number, engine: bigint): Promise<void> => {
  // The whole group at once, which even ends a fork bomb.
  kill(-pid);
  return endAll((mark) => mark === ((engine << pidBits) | BigInt(pid)));
};

/** The same for all processes of an engine but this one. */
export const endEngine = (engine: bigint): Promise<void> => endAll((mark) => mark >> pidBits === engine);

/** For a process without a supervisor: kills its descendants when it exits. */
export const takeAlongAtExit = (): void => {
  const number = numberOf(crypto.randomUUID());
  if (!mark(process.pid, number)) return warn("What tasks start may outlive this process: RLIMIT_LOCKS cannot be set");
  const isMeant = (mark: bigint): boolean => mark >> pidBits === number;
  process.on("exit", () => {
    for (let looks = 0; looks < vainLooksMax; looks++) {
      const { marked, hasVanished } = look(isMeant);
      if (marked.length === 0 && !hasVanished) return;
      for (const pid of marked) kill(pid);
    }
  });
};

/**
 * Looks and kills until none is left. A killed process cannot fork, so an unseen process descends
 * from one that vanished during the look; if none has vanished, there is none.
 */
const endAll = async (isMeant: (mark: bigint) => boolean): Promise<void> => {
  const overAtMs = performance.now() + killMs;
  const immune = new Set<number>();
  for (let vain = 0; vain < vainLooksMax; ) {
    const { marked, hasVanished } = look(isMeant);
    const living = marked.filter((pid) => !immune.has(pid));
    if (living.length === 0 && !hasVanished) return;
    vain = living.length === 0 ? vain + 1 : 0;
    if (performance.now() > overAtMs) {
      warn(`[ENGINE] Processes ${living.join(", ")} do not end even by SIGKILL, and are left to the system`);
      return;
    }
    for (const pid of living) {
      if (kill(pid)) continue;
      immune.add(pid);
      warn(`[ENGINE] Process [${pid}] is another user's, and what a task has started with it goes on`);
    }
    await Bun.sleep(lookMs);
  }
};

/** Kills a process, or a group by its negative id. Returns false without permission. */
export const kill = (pid: number): boolean => {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch (failure) {
    return (failure as NodeJS.ErrnoException).code !== "EPERM";
  }
};

interface Look {
  /** Process ids of the living processes that are meant, without this one. */
  readonly marked: readonly number[];
  /** A process ended before its mark was read. */
  readonly hasVanished: boolean;
}

/** Newest first, to meet processes that fork and end at once. */
const look = (isMeant: (mark: bigint) => boolean): Look => {
  const marked: number[] = [];
  let hasVanished = false;
  for (const name of readdirSync("/proc").reverse()) {
    const pid = Number(name);
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    const limits = read(`/proc/${pid}/limits`);
    hasVanished ||= limits === "";
    const [, mark] = /^Max file locks +(\d+)/m.exec(limits) ?? [];
    if (mark !== undefined && isMeant(BigInt(mark)) && isAlive(pid)) marked.push(pid);
  }
  return { marked, hasVanished };
};

/** Returns false for a zombie. proc_pid_stat(5): the state follows the name in parentheses. */
const isAlive = (pid: number): boolean => /\) [^ZX]/.test(read(`/proc/${pid}/stat`));

/** Empty for a process that is gone. */
const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
};
