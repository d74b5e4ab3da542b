/** What comes of the death of a process: whose doing it was, whether another is started and when, and which tasks are closed for it. */
import { readFileSync } from "node:fs";
import { quarantineDeaths, quarantineWindowMs } from "../limits.ts";
import type { Begun } from "../process/begun.ts";
import { error } from "../process/log.ts";
import type { Child, Ending } from "./child.ts";
import type { Children } from "./children.ts";
import { afterDeath, noDeaths, type RestartDecision, type RestartRules } from "./policy.ts";
import { type Cause, causeOf, noJob, Quarantine } from "./quarantine.ts";

export class Deaths {
  readonly #rules: RestartRules;
  readonly #children: Children;
  readonly #quarantine = new Quarantine();
  #history = noDeaths;
  #outOfMemory = killsForMemory();

  constructor(rules: RestartRules, children: Children) {
    this.#rules = rules;
    this.#children = children;
  }

  /** Tells a child which tasks are closed, before it can begin anything. */
  brief(child: Child): void {
    if (this.#quarantine.tasks.length > 0 && isTold(child)) this.#tell(child);
  }

  /** Of one that has ended and whose end was not wanted. @param begun what it was at; null for one that runs no jobs */
  causeOf(begun: Begun | null, { signal, words }: Pick<Ending, "signal" | "words">): Cause {
    if (begun === null) return noJob;
    const cause = causeOf(begun, signal, signal === "SIGKILL" && this.#isShort());
    if (cause.task !== null) this.#blame(cause.task, words);
    return cause;
  }

  /** @param name which process it was; the same after a restart */
  decide(name: string, { isJob }: Cause): RestartDecision {
    const { history, decision } = afterDeath(this.#history, name, performance.now(), this.#rules, !isJob);
    this.#history = history;
    return decision;
  }

  /** The task files were read anew. */
  reopen(): void {
    const hadClosed = this.#quarantine.tasks.length > 0;
    this.#quarantine.reopen();
    if (hadClosed) this.#tellAll();
  }

  #blame(task: string, how: string): void {
    if (!this.#quarantine.blame(task, how, performance.now(), Date.now() / 1000)) return;
    error(
      `[ENGINE] ${task} is quarantined: its jobs have killed ${quarantineDeaths} workers within ${quarantineWindowMs / 1000} s, the last of which ${how}; mend it, then run task-engine reload`,
    );
    this.#tellAll();
  }

  #tellAll(): void {
    for (const child of this.#children) if (isTold(child)) this.#tell(child);
  }

  #tell(child: Child): void {
    child.send({ type: "quarantined", tasks: this.#quarantine.tasks });
  }

  /** The system has killed for want of memory since the last time. */
  #isShort(): boolean {
    const before = this.#outOfMemory;
    this.#outOfMemory = killsForMemory();
    return this.#outOfMemory > before;
  }
}

const isTold = ({ role }: Child): boolean => role.kind === "router" || role.kind === "task worker";

/** /proc/vmstat, since Linux 4.13: how often the kernel has killed so; those of a control group's limit among them. */
const killsForMemory = (): number => {
  try {
    return Number(/^oom_kill (\d+)$/m.exec(readFileSync("/proc/vmstat", "utf8"))?.[1] ?? 0);
  } catch {
    return 0;
  }
};
