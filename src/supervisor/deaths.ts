/**
 * The consequences of each death of a process: its cause, the restart, the quarantine of tasks. A
 * task whose jobs have killed a few workers is in quarantine until the task files are read again or
 * somebody resumes it, so that nobody who may send it can take the workers from all others.
 */
import { readFileSync } from "node:fs";
import { quarantineDeaths, quarantineWindowMs } from "../limits.ts";
import type { Begun } from "../process/begun.ts";
import { error } from "../process/log.ts";
import type { Quarantined } from "../process/messages.ts";
import type { Child, Ending } from "./child.ts";
import type { Children } from "./children.ts";
import { afterDeath, noDeaths, type RestartDecision, type RestartRules } from "./restart-policy.ts";
import { Troubles } from "./troubles.ts";

export class Deaths {
  readonly #rules: RestartRules;
  readonly #children: Children;
  readonly #jobDeaths = new JobDeaths();
  readonly troubles: Troubles;
  #history = noDeaths;
  #outOfMemoryKills = outOfMemoryKills();

  constructor(rules: RestartRules, children: Children) {
    this.#rules = rules;
    this.#children = children;
    this.troubles = new Troubles(children);
  }

  /** Tells a new child which tasks are in quarantine, before it can begin any. */
  brief(child: Child): void {
    if (this.#jobDeaths.quarantined.length > 0) this.#tell(child);
  }

  /**
   * The cause of an unplanned end.
   * @param begun the record of the dead worker; null for a role without jobs
   */
  causeOf(begun: Begun | null, { signal, words }: Pick<Ending, "signal" | "words">): DeathCause {
    if (begun === null) return noJob;
    const cause = causeOf(begun, signal, signal === "SIGKILL" && this.#isOutOfMemory());
    if (cause.task !== null) this.#count(cause.task, words);
    return cause;
  }

  /** @param name of the process, the same after a restart */
  decide(name: string, { isJob }: DeathCause): RestartDecision {
    const { history, decision } = afterDeath(this.#history, name, performance.now(), this.#rules, !isJob);
    this.#history = history;
    return decision;
  }

  /**
   * Releases a task from quarantine, since somebody resumes it; without a name all of them, since
   * the task files were read again.
   */
  release(task?: string): void {
    const { length: before } = this.#jobDeaths.quarantined;
    this.#jobDeaths.clear(task);
    if (this.#jobDeaths.quarantined.length < before) this.#tellAll();
  }

  #count(task: string, how: string): void {
    if (!this.#jobDeaths.count(task, how, performance.now(), Date.now() / 1000)) return;
    const window = `${quarantineWindowMs / 1000} s`;
    error(
      `[ENGINE] ${task} is quarantined: its jobs have killed ${quarantineDeaths} workers within ${window}, ` +
        `the last of which ${how}; fix it, then run task-engine reload`,
    );
    this.#tellAll();
  }

  #tellAll(): void {
    for (const child of this.#children) this.#tell(child);
  }

  #tell(child: Child): void {
    const { kind } = child.role;
    if (kind !== "router" && kind !== "task worker") return;
    child.send({ type: "quarantined", tasks: this.#jobDeaths.quarantined });
  }

  #isOutOfMemory(): boolean {
    const before = this.#outOfMemoryKills;
    this.#outOfMemoryKills = outOfMemoryKills();
    return this.#outOfMemoryKills > before;
  }
}

/** Kills for want of memory, in any control group: /proc/vmstat, since Linux 4.13. */
const outOfMemoryKills = (): number => {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
};

export interface DeathCause {
  /** The task whose job has caused the death; null where none has, or nobody can tell. */
  readonly task: string | null;
  /** A job or source may have caused it, so it is no sign that the engine cannot hold itself up. */
  readonly isJob: boolean;
}

export const noJob: DeathCause = { task: null, isJob: false };

/** The cause for a process that runs only sources, or that the engine works without. */
export const notCounted: DeathCause = { task: null, isJob: true };

/**
 * @param begun the record of the dead worker
 * @param signal that has ended it; null for none
 * @param isOutOfMemory the kernel has killed a process for want of memory
 */
export const causeOf = (begun: Begun, signal: string | number | null, isOutOfMemory: boolean): DeathCause => {
  const { task, runs, culprit } = begun;
  if (culprit !== undefined) return { task: culprit, isJob: culprit !== null };
  // Somebody outside can end any process so: the job is not at fault.
  if (signal === "SIGKILL" && !isOutOfMemory) return { task: null, isJob: runs };
  return { task, isJob: task !== null };
};

/** Counts the deaths that the jobs of each task have caused. */
export class JobDeaths {
  readonly #deathsMs = new Map<string, number[]>();
  readonly #quarantined = new Map<string, Quarantined>();

  get quarantined(): readonly Quarantined[] {
    return [...this.#quarantined.values()];
  }

  /**
   * Counts a death. Returns true if it puts the task into quarantine.
   * @param how the worker has ended, as words that follow its name
   * @param nowMs of a monotonic clock
   * @param since seconds since 1970
   */
  count(task: string, how: string, nowMs: number, since: number): boolean {
    if (this.#quarantined.has(task)) return false;
    const before = this.#deathsMs.get(task) ?? [];
    const deathsMs = [...before, nowMs].filter((atMs) => atMs > nowMs - quarantineWindowMs);
    this.#deathsMs.set(task, deathsMs);
    if (deathsMs.length < quarantineDeaths) return false;
    this.#quarantined.set(task, { task, since, deaths: deathsMs.length, how });
    return true;
  }

  /** Releases a task, or without a name all of them. */
  clear(task?: string): void {
    for (const map of [this.#deathsMs, this.#quarantined]) {
      if (task === undefined) map.clear();
      else map.delete(task);
    }
  }
}
