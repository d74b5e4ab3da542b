/**
 * What processes of the engine have started, and what those have started in turn: found whatever has become of parents, sessions
 * and environments, and killed.
 *
 * Each process of the engine bears a mark that all its descendants inherit, by fork and by exec: its soft limit of file locks
 * (RLIMIT_LOCKS of getrlimit(2)), 64 bits which Linux keeps for every process, shows in /proc, and has had no use for since 2.4.25.
 * A mark is the engine's number and the process's id. Unlike a child subreaper, which has to be the parent of orphans and to live,
 * it serves whoever is left: the supervisor, the router after the supervisor's death, and the next start after a crash.
 */
import { readdirSync, readFileSync, statSync } from "node:fs";
import { killMs } from "../limits.ts";
import { libc } from "../transport/libc.ts";
import { warn } from "./log.ts";

const locksLimit = 10; // RLIMIT_LOCKS
const limitBytes = 16; // struct rlimit: soft and hard
const pidBits = 22n; // PID_MAX_LIMIT of a 64-bit kernel, proc_sys_kernel(5)
/** One less than what is left: a mark must not be RLIM_INFINITY. */
const engineBits = 41;

/** ms between two looks at processes that are dying. */
const lookMs = 1;
/** looks in a row that find none, while others come and go: of these one that was missed would not be missed each time. */
const vainLooksMax = 8;

/** An engine's number, by which a later one over the same state folder finds what it has left. Throws what stat(2) throws. */
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

/** Marks a process that has started nothing yet. False where the system does not let it: then what leaves its group is not found. */
export const mark = (pid: number, engine: bigint): boolean => {
  const limit = new BigUint64Array(new ArrayBuffer(limitBytes));
  if (libc.prlimit(pid, locksLimit, null, limit) !== 0) return false;
  limit[0] = (engine << pidBits) | BigInt(pid);
  return libc.prlimit(pid, locksLimit, limit, null) === 0;
};

/** Kills what a dead process has started. Resolves when all of it is gone, after `killMs` at the most; what is left then is said. */
export const endDescendantsOf = (pid: number, engine: bigint): Promise<void> => {
  // The group goes at one stroke, be it that it forks without end.
  kill(-pid);
  return endAll((mark) => mark === ((engine << pidBits) | BigInt(pid)));
};

/** Kills all processes of an engine but this one, and what they have started; the same otherwise. */
export const endEngine = (engine: bigint): Promise<void> => endAll((mark) => mark >> pidBits === engine);

/** For a process that no supervisor has started: kills what it has started when it exits, by itself or by an error. */
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
 * Looks and kills until nobody is left. A killed process can fork no more; so what is not there at a look comes from one that was, and
 * where none has vanished while it was looked at, there is none.
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

/** Of a process, or of a group by its negative id. False where that is not ours to do; one that is gone counts as killed. */
export const kill = (pid: number): boolean => {
  try {
    process.kill(pid, "SIGKILL");
    return true;
  } catch (failure) {
    return (failure as NodeJS.ErrnoException).code !== "EPERM";
  }
};

interface Look {
  /** Process ids of those that are meant and live, this process excepted. */
  readonly marked: readonly number[];
  /** One was gone before it was known whether it was meant. */
  readonly hasVanished: boolean;
}

/** The newest first: what forks and ends at once must be met while it is there. */
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

/** proc_pid_stat(5): behind the name, which may hold anything, comes the state. Who is a zombie does nothing any more. */
const isAlive = (pid: number): boolean => /\) [^ZX]/.test(read(`/proc/${pid}/stat`));

/** Empty for a process that is gone. */
const read = (path: string): string => {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return "";
  }
};
