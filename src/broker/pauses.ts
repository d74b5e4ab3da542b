/**
 * Pauses of tasks and schedules. They begin and end here at once; the answer waits until the
 * supervisor has reported whether that is on the disk, from which the next start takes them.
 */
import { pauseAnswersMax, pausedMax, stopAnswerMs } from "../limits.ts";
import type { Pauses } from "../protocol/blocked.ts";
import { encodeData } from "../protocol/frames.ts";
import type { JsonObject } from "../protocol/json.ts";
import type { Effect, PauseChange } from "./events.ts";
import { personOf } from "./job.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { BrokerState, RequestSender } from "./state.ts";
import type { Tables } from "./tables.ts";

/** A task or schedule that is paused, or resumed where `since` is null. */
type PauseTarget = Omit<PauseChange, "request">;

export class PauseHandler {
  readonly #pausing: BrokerState["pausing"] = new Map();
  #lastRequest = 0;

  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /** The supervisor says what is paused, before there is any task. */
  hear({ tasks, schedules }: Pauses): void {
    for (const { name, since } of tasks) this.tables.blocks.setPaused(name, since);
    for (const { name, since } of schedules) this.tables.schedules.setPaused(name, since);
  }

  /** The supervisor reports on the disk. @param failure why it is not there; null if it is */
  kept(request: number, failure: string | null): Effect[] {
    const answer = this.#pausing.get(request);
    this.#pausing.delete(request);
    return answer === undefined ? [] : [answer(failure)];
  }

  pauseTask(sender: RequestSender, task: string, now: number): Effect[] {
    const { blocks, directory } = this.tables;
    const known = directory.find(task);
    if (known === undefined) return [this.tables.requests.refuse(sender, directory.whyMissing(task))];
    const before = blocks.pauseOf({ kind: "task", name: task });
    const since = before?.since ?? this.tables.wallSeconds();
    return this.#set(sender, { of: "task", name: task, since }, () => ({ paused: since }), now);
  }

  /** The task may be gone meanwhile. */
  resumeTask(sender: RequestSender, task: string, now: number): Effect[] {
    return this.#set(sender, { of: "task", name: task, since: null }, () => ({ paused: null }), now);
  }

  /** @param report gives the answer */
  setSchedule(sender: RequestSender, name: string, isPaused: boolean, report: () => JsonObject, now: number): Effect[] {
    const before = [...this.tables.schedules.paused].find((paused) => paused.name === name);
    const since = isPaused ? (before?.since ?? this.tables.wallSeconds()) : null;
    return this.#set(sender, { of: "schedule", name, since }, report, now);
  }

  #set(sender: RequestSender, target: PauseTarget, report: () => JsonObject, now: number): Effect[] {
    const { blocks, queues, requests, schedules, timers } = this.tables;
    const { durable } = this.lifecycle;
    const { of, name, since } = target;
    const table = of === "task" ? blocks : schedules;
    const others = [...table.paused].filter((paused) => paused.name !== name).length;
    const refuse = (message: string): Effect[] => [requests.refuse(sender, { code: "QUEUE_FULL", message })];
    if (since !== null && others >= pausedMax) return refuse(`${pausedMax} ${of}s are paused already; resume one`);
    if (this.#pausing.size >= pauseAnswersMax) return refuse(`${pauseAnswersMax} others wait for the same already`);
    table.setPaused(name, since);
    const request = ++this.#lastRequest;
    const answer = (failure: string | null): Effect =>
      requests.acknowledge(sender, encodeData({ ...report(), failure }));
    this.#pausing.set(request, answer);
    timers.add({
      at: now + stopAnswerMs,
      isAlive: () => this.#pausing.has(request),
      fire: () => this.kept(request, silence),
    });
    if (of === "task" && since !== null) {
      for (const job of queues) if (job.name === name) durable.disclaim(job);
    }
    const verb = since === null ? "resumed" : "paused";
    const line = `${of === "task" ? "Task" : "Schedule"} ${name} is ${verb} by ${personOf(sender) ?? "a requestor"}`;
    return [
      { to: "log", line },
      { to: "supervisor", type: "pause", ...target, request },
    ];
  }
}

const silence = `the supervisor has not answered within ${stopAnswerMs} ms`;
