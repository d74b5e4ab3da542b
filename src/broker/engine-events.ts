/**
 * The engine's own topics: events for those that have subscribers, and nothing for the others. A
 * data worker says WATCHED with the topics that its subscribers follow. Of several data workers the
 * one whose topic it is publishes the events.
 *
 * Events wait here until the end of the broker's turn, since most transitions return no effects.
 */
import { eventProgressLengthMax } from "../limits.ts";
import type { StopResult } from "../protocol/blocked.ts";
import { type LogLine, type RouterTopic, routerTopics } from "../protocol/engine-topics.ts";
import { ProtocolError, shorten } from "../protocol/errors.ts";
import type { Frame } from "../protocol/frame.ts";
import { encodeData } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { decodeObject } from "../protocol/schema.ts";
import { type Access, engineUser } from "../security/access.ts";
import type { Effect } from "./events.ts";
import { requestorOf, resourcesOf } from "./job.ts";
import type { JobIds } from "./job-ids.ts";
import { type JobOutcome, messageIn } from "./outcome.ts";
import type { BrokerState, Job, Schedule, Worker } from "./state.ts";
import type { TaskDirectory } from "./task-directory.ts";
import type { Workers } from "./workers.ts";

/** `left`: it has let go of all jobs after `leaving`. `killed`: it is dead, or soon will be. */
type WorkerChange = "ready" | "leaving" | "left" | "lost" | "killed" | "refused";

export class EngineEvents {
  /** `$engine/jobs` has subscribers. A field, since each transition of each job looks at it. */
  watchesJobs = false;
  /** The same of `$engine/resources`. */
  watchesResources = false;
  /** A data worker or a source worker has come or is about to go. */
  haveDataWorkersNews = false;
  /** Topics that the subscribers of each worker follow. */
  readonly #watched: BrokerState["watched"] = new Map();
  /** Keys of the data workers that publish each topic's events. */
  readonly #publishers: BrokerState["publishers"] = new Map();
  /** Names of resources whose state may have changed. */
  readonly changedResources = new Set<string>();
  #waiting: Effect[] = [];
  /** The last event of `$engine/stop`, without its time; null before the first. */
  #lastStop: string | null = null;

  constructor(
    private readonly workers: Workers,
    private readonly directory: TaskDirectory,
    private readonly wallSeconds: () => number,
    private readonly ids: JobIds,
  ) {}

  /** There may be events to take. */
  get isActive(): boolean {
    return this.#publishers.size > 0 || this.#waiting.length > 0;
  }

  /** The events since the last call. */
  take(): Effect[] {
    const taken = this.#waiting;
    this.#waiting = [];
    return taken;
  }

  /* ── Subscribers ── */

  /**
   * WATCHED, of a worker that has subscribers: a data worker from elsewhere gets only what its own
   * key may read.
   */
  watch(worker: Worker, topics: readonly string[], access: Access): void {
    const { user, ready } = worker;
    if (ready.role !== "data") return;
    const mayHave = (topic: string): boolean => user === engineUser || access.missing(user, "read", topic) === null;
    this.#watched.set(worker, new Set(routerTopics.filter((topic) => topics.includes(topic) && mayHave(topic))));
    this.#choosePublishers();
  }

  #choosePublishers(): void {
    const watchedLog = this.#publishers.has("$engine/log");
    for (const worker of this.#watched.keys()) {
      if (this.workers.get(worker.key) !== worker) this.#watched.delete(worker);
    }
    for (const topic of routerTopics) {
      const owner = this.directory.topicQueue(topic);
      const [worker] = owner === undefined ? [] : this.workers.serving(owner);
      const isWatched = worker !== undefined && this.#watched.get(worker)?.has(topic) === true;
      // A new subscriber, or another data worker, has to hear of a stop that holds already.
      if (topic === "$engine/stop" && (!isWatched || this.#publishers.get(topic) !== worker.key)) this.#lastStop = null;
      if (isWatched) this.#publishers.set(topic, worker.key);
      else this.#publishers.delete(topic);
    }
    this.watchesJobs = this.#publishers.has("$engine/jobs");
    this.watchesResources = this.#publishers.has("$engine/resources");
    if (!this.watchesResources) this.changedResources.clear();
    const watchesLog = this.#publishers.has("$engine/log");
    if (watchesLog !== watchedLog) {
      this.#waiting.push({ to: "supervisor", type: "watchLog", isWatched: watchesLog });
    }
  }

  /* ── Jobs: call these only while `watchesJobs` ── */

  accepted(job: Job): void {
    if (job.kind === "task") this.#job(job, { event: "accepted" });
  }

  running(job: Job, worker: Worker): void {
    if (job.kind === "task") this.#job(job, { event: "running", worker: worker.ready.id });
  }

  /** @param body the DATA frame of the worker */
  progress(job: Job, worker: Worker, body: Frame): void {
    if (job.kind !== "task") return;
    const frame = body.length > eventProgressLengthMax ? null : decodeObject(body, "DATA");
    const progress = frame === null || frame instanceof ProtocolError ? null : (frame.data ?? null);
    this.#job(job, { event: "progress", worker: worker.ready.id, progress });
  }

  /**
   * @param worker that has answered; null for an end without one
   * @param ms run time, 0 where no worker has said it
   */
  ended(job: Job, { code, body }: JobOutcome, worker: Worker | null, ms: number): void {
    if (job.kind !== "task") return;
    const message = code === null ? null : shorten(messageIn(body));
    this.#job(job, { event: "ended", worker: worker?.ready.id ?? null, ms: ms > 0 ? ms : null, code, message });
  }

  #job(job: Job, more: { readonly event: string } & Readonly<Record<string, Json>>): void {
    const { request } = job;
    const { event, ...rest } = more;
    this.#emit("$engine/jobs", {
      event,
      at: this.wallSeconds(),
      job: this.ids.idOf(job.id),
      serial: request?.meta.serial ?? "",
      task: job.name,
      requestor: requestorOf(job),
      ...rest,
    });
  }

  /* ── The rest ── */

  /** A worker has come or is about to go. @param why null where the change says it */
  worker(event: WorkerChange, { ready }: Pick<Worker, "ready">, why: string | null = null): void {
    const { id: worker, role, pid } = ready;
    if (role === "data" && event !== "refused") this.#choosePublishers();
    if (role !== "task" && event !== "refused") this.haveDataWorkersNews = true;
    if (!this.#publishers.has("$engine/workers")) return;
    this.#emit("$engine/workers", { event, at: this.wallSeconds(), worker, role, pid, why });
  }

  /** The resources of a job may have another state. */
  touch(job: Pick<Job, "policy">): void {
    for (const resource of resourcesOf(job)) this.changedResources.add(resource);
  }

  /** @param report as in the answer to CONTROL `status` */
  resource(report: { readonly [key: string]: Json }): void {
    if (this.watchesResources) this.#emit("$engine/resources", { at: this.wallSeconds(), ...report });
  }

  /** A run of a schedule has begun, has ended or was left out. */
  schedule(event: "started" | "ended" | "skipped", { definition, code, why }: Schedule): void {
    if (!this.#publishers.has("$engine/schedules")) return;
    const { name, task } = definition;
    const more = event === "skipped" ? { code: null, why } : { code: event === "ended" ? code : null, why: null };
    this.#emit("$engine/schedules", { event, at: this.wallSeconds(), name, task, ...more });
  }

  /** The emergency stop as it is now. Only a change is an event. */
  stop(report: () => StopResult | null): void {
    if (!this.#publishers.has("$engine/stop")) return;
    const now = report();
    const { reason, since, durable = null, why = null } = now ?? {};
    const event = { stopped: now === null ? null : { reason, since }, durable, why };
    const text = JSON.stringify(event);
    if (text === this.#lastStop) return;
    this.#lastStop = text;
    this.#emit("$engine/stop", { ...event, at: this.wallSeconds() });
  }

  /** @param lost lines before these that no event could be made of */
  log(process: string, lines: readonly LogLine[], lost: number): void {
    if (!this.#publishers.has("$engine/log")) return;
    for (const [index, { at, level, text, job }] of lines.entries()) {
      const event = { at, level, process, job: job === null ? null : this.ids.idOf(job), text };
      this.#emit("$engine/log", event, index === 0 ? lost : 0);
    }
  }

  #emit(topic: RouterTopic, event: unknown, lost = 0): void {
    const key = this.#publishers.get(topic);
    if (key !== undefined) this.#waiting.push({ to: "event", key, topic, body: encodeData(event), lost });
  }
}
