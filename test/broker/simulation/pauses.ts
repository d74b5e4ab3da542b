/**
 * Tasks and schedules that an operator pauses and resumes. The supervisor keeps each pause, and tells it to a router that begins;
 * no job of a paused task is handed over.
 */

import type { PauseChange } from "../../../src/broker/events.ts";
import { stopAnswerMs } from "../../../src/limits.ts";
import type { Paused } from "../../../src/protocol/blocked.ts";
import { check } from "./ledger.ts";
import type { World } from "./world.ts";

/** ms */
export const longPauseMs = 130_000;

export class Pauses {
  readonly #paused = { task: new Map<string, Paused>(), schedule: new Map<string, Paused>() };

  constructor(private readonly world: World) {}

  /** Mostly of the task that is asked for most. */
  pause(): void {
    const { agenda, favourite, random, router, timetable } = this.world;
    if (router.isDown) return;
    if (random.chance(0.2) && timetable.definitions.length > 0) {
      const { name } = random.pick(timetable.definitions);
      router.control({ command: "schedule", name, action: "pause" });
      agenda.after(random.between(1, 30_000), () => this.#resumeSchedule(name));
      return;
    }
    const task = random.chance(0.5) ? favourite : random.pick(["photo", "upload", "quick", "drive"]);
    router.control({ command: "pause", task });
    agenda.after(random.between(1, 3000), () => this.#resumeTask(task));
  }

  /** So long that the next run of a schedule is due while the last one waits. */
  pauseLong(): void {
    for (const { task } of this.world.timetable.definitions) {
      this.world.router.control({ command: "pause", task });
      this.world.agenda.after(longPauseMs, () => this.#resumeTask(task));
    }
  }

  /** Nothing is paused any more. */
  resumeAll(): void {
    for (const task of this.#paused.task.keys()) this.#resumeTask(task);
    for (const name of this.#paused.schedule.keys()) this.#resumeSchedule(name);
  }

  /** The supervisor is told, and puts it on a disk that may be slow or full. */
  keep({ of, name, since, request }: PauseChange): void {
    const { agenda, random, router } = this.world;
    if (since === null) this.#paused[of].delete(name);
    else this.#paused[of].set(name, { name, since });
    if (of === "task" && since === null) this.world.release(name);
    const { broker } = router;
    agenda.after(random.between(0, 2 * stopAnswerMs), () => {
      const failure = random.chance(0.2) ? "the disk is full" : null;
      if (router.broker === broker) router.handle({ type: "pauseKept", request, failure });
    });
  }

  /** A router begins. */
  tell(): void {
    const { task, schedule } = this.#paused;
    this.world.router.handle({ type: "paused", tasks: [...task.values()], schedules: [...schedule.values()] });
  }

  handOver(task: string): void {
    check(!this.#paused.task.has(task), `${task} is handed over while it is paused`);
  }

  #resumeTask(task: string): void {
    if (!this.world.isEnding) this.world.router.control({ command: "resume", task });
  }

  #resumeSchedule(name: string): void {
    if (!this.world.isEnding) this.world.router.control({ command: "schedule", name, action: "resume" });
  }
}
