/**
 * The heart of the router: what is asked, what waits, who works on what, and what is answered. Pure: it is told what
 * happened and at what time, and says what to do; it knows no socket, clock, file or log.
 *
 * After each event, or a few of them, `dispatch` hands what waits to the workers that can take it.
 */
import { beatSilenceMs, messageJobsMax, workersMax } from "../limits.ts";
import type { BackendMessage, ReadyHeader, RouterHeader, WorkerHeader } from "../wire/backend.ts";
import { encodeData, packNow } from "../wire/frames.ts";
import type { Json } from "../wire/json.ts";
import type { BadRequest, Control, Request } from "../wire/requests.ts";
import { acknowledge, type Effect, fail, failWith } from "./effects.ts";
import { dataQueue, type Job, type Requestor, taskQueue } from "./job.ts";
import { pickEndpoint } from "./placement.ts";
import { JobQueues } from "./queue.ts";
import { type Worker, Workers } from "./workers.ts";

export type BrokerEvent =
  | { readonly type: "request"; readonly requestor: Requestor; readonly request: Request | BadRequest }
  | { readonly type: "worker"; readonly key: string; readonly message: BackendMessage<WorkerHeader> }
  /** The worker's connection is gone. */
  | { readonly type: "disconnected"; readonly key: string }
  /** The supervisor says that this process has died. */
  | { readonly type: "gone"; readonly pid: number }
  /** The supervisor says which tasks there will be once the workers are there. */
  | { readonly type: "tasks"; readonly names: readonly string[] }
  | { readonly type: "drain" }
  /** Time has passed. */
  | { readonly type: "tick" };

/** `META.id` of what the router itself answers. */
export interface BrokerOptions {
  readonly id: string;
}

export class Broker {
  readonly #id: string;
  readonly #queues = new JobQueues();
  readonly #workers = new Workers();
  /** Tasks that workers will serve, by the supervisor's word, whether or not one does at present. */
  #expectedTasks: ReadonlySet<string> = new Set();
  /** Every data worker's endpoint since the start: its topics stay its own while it is being restarted. */
  readonly #dataEndpoints = new Set<string>();
  readonly #counts = { accepted: 0, done: 0, failed: 0, interrupted: 0, dropped: 0 };
  #nextJobId = 1;
  #draining = false;
  #drainedSaid = false;

  constructor({ id }: BrokerOptions) {
    this.#id = id;
  }

  handle(event: BrokerEvent, now: number): Effect[] {
    switch (event.type) {
      case "request":
        return this.#request(event.requestor, event.request);
      case "worker":
        return this.#fromWorker(event.key, event.message, now);
      case "disconnected":
        return this.#lose(this.#workers.get(event.key), "its connection is gone");
      case "gone":
        return [...this.#workers]
          .filter((worker) => worker.ready.pid === event.pid)
          .flatMap((worker) => this.#lose(worker, "its process has died"));
      case "tasks":
        this.#expectedTasks = new Set(event.names);
        return [];
      case "drain":
        return this.#drain();
      case "tick":
        return [...this.#workers]
          .filter((worker) => worker.jobs.size === 0 && now - worker.heardAt > beatSilenceMs)
          .flatMap((worker) => this.#lose(worker, "it is silent"));
    }
  }

  /** Hands out what workers can take; to be called after events, before their effects are forgotten. */
  dispatch(): Effect[] {
    const effects: Effect[] = [];
    for (const queue of this.#queues.waiting()) {
      const batches = new Map<Worker, Job[]>();
      for (let worker = this.#workers.free(queue); worker !== undefined; worker = this.#workers.free(queue)) {
        const job = this.#queues.shift(queue);
        if (job === undefined) break;
        this.#workers.assign(worker, job);
        const batch = batches.get(worker);
        if (batch === undefined) batches.set(worker, [job]);
        else batch.push(job);
      }
      for (const [worker, jobs] of batches) {
        for (const run of runsOfOneKind(jobs)) effects.push(handOver(worker, run));
      }
    }
    if (this.#draining && !this.#drainedSaid && !this.#busy) {
      this.#drainedSaid = true;
      effects.push({ to: "supervisor", drained: true });
    }
    return effects;
  }

  get #busy(): boolean {
    return [...this.#workers].some((worker) => worker.jobs.size > 0);
  }

  /* ── Requests ──────────────────────────────────────────────────────────────────────────────────────────────────── */

  #request(requestor: Requestor, request: Request | BadRequest): Effect[] {
    const meta = request.meta ?? { version: 0.1 as const };
    const asked = { requestor, meta };
    if (request.kind === "bad") return [fail(asked, this.#id, request.error.code, request.error.message)];
    if (request.kind === "ping") return [acknowledge(asked, this.#id)];
    if (request.kind === "control" && request.control.command !== "get") {
      return [acknowledge(asked, this.#id, encodeData({ data: this.#report(request.control), pack: packNow() }))];
    }
    if (this.#draining)
      return [fail(asked, this.#id, "SHUTTING_DOWN", "the engine is stopping; ask again once it is back")];
    if (request.kind === "task") return request.parts.flatMap((part) => this.#acceptTask(asked, part.name, part.bytes));
    if (request.kind === "data") return this.#acceptData(asked, "put", request.topic, request.bytes);
    return request.control.command === "get" ? this.#acceptData(asked, "get", request.control.topic, noBytes) : [];
  }

  #acceptTask(asked: Asked, name: string, body: Uint8Array): Effect[] {
    const queue = taskQueue(name);
    if (this.#workers.serving(queue).length === 0 && !this.#expectedTasks.has(name)) {
      return [
        fail(
          asked,
          this.#id,
          "UNKNOWN_TASK",
          `no task ${JSON.stringify(name)} is registered; \`task-engine tasks\` lists those that are`,
        ),
      ];
    }
    return this.#accept({ ...asked, kind: "task", name, queue, body });
  }

  #acceptData(asked: Asked, kind: "put" | "get", topic: string, body: Uint8Array): Effect[] {
    const endpoint = pickEndpoint(topic, this.#dataEndpoints);
    if (endpoint === undefined) return [fail(asked, this.#id, "UNAVAILABLE", "there is no data worker")];
    return this.#accept({ ...asked, kind, name: topic, queue: dataQueue(endpoint), body });
  }

  #accept(job: Omit<Job, "id">): Effect[] {
    if (this.#queues.push({ ...job, id: this.#nextJobId })) {
      this.#nextJobId++;
      this.#counts.accepted++;
      return [];
    }
    this.#counts.dropped++;
    if (job.requestor === null) return [];
    const message = `${this.#queues.jobs} jobs (${this.#queues.bytes} bytes) are waiting already; ask again later`;
    return [fail({ requestor: job.requestor, meta: job.meta }, this.#id, "QUEUE_FULL", message)];
  }

  #report(control: Control): Json {
    if (control.command === "tasks") {
      const names = new Set(this.#expectedTasks);
      for (const worker of this.#workers) for (const name of worker.ready.tasks) names.add(name);
      return {
        tasks: [...names].sort().map((name) => ({ name, workers: this.#workers.serving(taskQueue(name)).length })),
        data: [...this.#dataEndpoints],
      };
    }
    return {
      draining: this.#draining,
      counts: { ...this.#counts },
      queue: { jobs: this.#queues.jobs, bytes: this.#queues.bytes },
      workers: [...this.#workers].map(({ ready: { id, role, pid, endpoint }, jobs }) => ({
        id,
        role,
        pid,
        endpoint,
        jobs: jobs.size,
      })),
    };
  }

  /* ── Workers ───────────────────────────────────────────────────────────────────────────────────────────────────── */

  #fromWorker(key: string, { header, bodies }: BackendMessage<WorkerHeader>, now: number): Effect[] {
    if (header.type === "READY") return this.#join(key, header, now);
    const worker = this.#workers.get(key);
    if (worker === undefined) return [{ to: "worker", key, header: { type: "WHO" }, bodies: [] }];
    worker.heardAt = now;
    switch (header.type) {
      case "BEAT":
        return [];
      case "PUBLISH":
        return this.#publish(header.topic, bodies[0] ?? noBytes);
      case "DONE":
      case "FAIL":
        return header.jobs.flatMap((id, index) => this.#finish(worker, id, header, index, bodies[index] ?? noBytes));
    }
  }

  #join(key: string, ready: ReadyHeader, now: number): Effect[] {
    const effects = this.#lose(this.#workers.get(key), "it has started anew");
    if (this.#workers.size >= workersMax) {
      effects.push({ to: "log", line: `worker ${ready.id} is not admitted: there are ${workersMax} already` });
      return effects;
    }
    this.#workers.add(key, ready, now);
    if (ready.role === "data") this.#dataEndpoints.add(ready.endpoint);
    effects.push({ to: "worker", key, header: { type: "WELCOME" }, bodies: [] });
    return effects;
  }

  /** A task's own publication: a job that nobody waits for. */
  #publish(topic: string, body: Uint8Array): Effect[] {
    const endpoint = pickEndpoint(topic, this.#dataEndpoints);
    if (endpoint === undefined) {
      this.#counts.dropped++;
      return [];
    }
    const meta = { version: 0.2 as const };
    return this.#accept({ requestor: null, meta, kind: "put", name: topic, queue: dataQueue(endpoint), body });
  }

  #finish(
    worker: Worker,
    id: number,
    header: WorkerHeader & { type: "DONE" | "FAIL" },
    index: number,
    body: Uint8Array,
  ): Effect[] {
    const job = this.#workers.finish(worker, id, header.ms[index] ?? 0);
    if (job === undefined) {
      // Answered already, or never handed to this worker.
      this.#counts.dropped++;
      return [];
    }
    this.#counts[header.type === "DONE" ? "done" : "failed"]++;
    const { requestor, meta } = job;
    if (requestor === null) return [];
    const answer = header.type === "DONE" ? acknowledge : failWith;
    return [answer({ requestor, meta }, worker.ready.id, body)];
  }

  /** Ends what a worker held: it may have been running, so it is not run again. */
  #lose(worker: Worker | undefined, why: string): Effect[] {
    if (worker === undefined) return [];
    this.#workers.remove(worker);
    const effects: Effect[] = [];
    for (const { job } of worker.jobs.values()) {
      this.#counts.interrupted++;
      if (job.requestor === null) continue;
      const message = `worker ${worker.ready.id} was lost (${why}) while ${job.name} may have been running`;
      effects.push(fail({ requestor: job.requestor, meta: job.meta }, this.#id, "INTERRUPTED", message));
    }
    return effects;
  }

  #drain(): Effect[] {
    this.#draining = true;
    return this.#queues
      .clear()
      .flatMap(({ requestor, meta }) =>
        requestor === null
          ? []
          : [fail({ requestor, meta }, this.#id, "SHUTTING_DOWN", "the engine stopped before the job began")],
      );
  }
}

type Asked = Pick<Job, "meta"> & { readonly requestor: Requestor };

const noBytes = new Uint8Array(0);

/** A message to a worker has jobs of one kind, and no more than `messageJobsMax`; their order stays. */
const runsOfOneKind = (jobs: readonly Job[]): Job[][] => {
  const runs: Job[][] = [];
  for (const job of jobs) {
    const run = runs.at(-1);
    if (run?.[0]?.kind === job.kind && run.length < messageJobsMax) run.push(job);
    else runs.push([job]);
  }
  return runs;
};

const handOver = (worker: Worker, jobs: readonly Job[]): Effect => {
  const ids = jobs.map((job) => job.id);
  const kind = jobs[0]?.kind;
  const header: RouterHeader =
    kind === "task"
      ? { type: "JOBS", jobs: ids, serials: jobs.map((job) => job.meta.serial ?? "") }
      : { type: kind === "put" ? "PUT" : "GET", jobs: ids, topics: jobs.map((job) => job.name) };
  return { to: "worker", key: worker.key, header, bodies: kind === "get" ? [] : jobs.map((job) => job.body) };
};
