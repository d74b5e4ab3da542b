/** The messages of workers that the router knows; READY is that of `WorkerRegistration`. */
import type { ReadyHeader, WorkerHeader } from "../protocol/backend.ts";
import type { Frame } from "../protocol/frame.ts";
import { type Effect, toWorker } from "./events.ts";
import type { JournalRecovery } from "./journal-recovery.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import { binarySuccess, checkedSuccess, failureBy, success } from "./outcome.ts";
import { relay } from "./relay.ts";
import type { Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import type { WorkerRegistration } from "./worker-registration.ts";

export class WorkerMessages {
  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
    private readonly registration: WorkerRegistration,
    private readonly recovery: Pick<JournalRecovery, "hear">,
  ) {}

  /** @param header of a worker that the router knows */
  hear(worker: Worker, header: Exclude<WorkerHeader, ReadyHeader>, bodies: readonly Frame[], now: number): Effect[] {
    switch (header.type) {
      case "BEAT":
        return [toWorker(worker.key, { type: "BEAT", at: now })];
      case "LEAVE":
        this.registration.leave(worker);
        return [];
      case "WATCHED":
        this.tables.events.watch(worker, header.topics, this.tables.access);
        return [];
      // It is for the shell, which sends the events.
      case "HEARD":
        return [];
      case "COMMITTED":
      case "RECOVERED":
      case "LOGGED":
      case "JOURNAL":
        return this.recovery.hear(worker, header, bodies, now);
      case "OWNERS":
        worker.wantsOwners = true;
        return [toWorker(worker.key, { type: "OWNERS", workers: [...this.tables.directory.owners] })];
      case "SAFING":
        this.lifecycle.runLimits.safing(worker, header.job, now);
        return [];
      case "RETURN":
        for (const id of header.jobs) this.#letGo(worker, id, false, now);
        return this.lifecycle.returned(worker, header.jobs, now);
      case "SOURCES":
        worker.sources = new Map(header.sources.map((source) => [source.name, source]));
        return [];
      case "STORE": {
        const { type: _, ...report } = header;
        worker.store = report;
        return [];
      }
      case "LOG": {
        // A job that was answered without its worker may still say what it does.
        const job = worker.held.get(header.job)?.job ?? worker.givenUp.get(header.job);
        if (job === undefined || !this.tables.logs.add(job, bodies[0] ?? noBytes)) {
          this.tables.statistics.drop("logOfNoJob");
        }
        return [];
      }
      case "PUBLISH":
      case "PROGRESS":
        return relay(this.tables, this.lifecycle, worker, header, bodies[0] ?? noBytes, now);
      case "DONE":
      case "FAIL": {
        const successBy = worker.ready.supervised === true ? success : checkedSuccess;
        const outcomeBy = header.type === "DONE" ? successBy : failureBy;
        const contentTypes = header.type === "DONE" ? header.contentTypes : undefined;
        const effects: Effect[] = [];
        for (const [index, id] of header.jobs.entries()) {
          const body = bodies[index] ?? noBytes;
          const contentType = contentTypes?.[index] ?? null;
          const { id: by } = worker.ready;
          const outcome = contentType === null ? outcomeBy(by, body) : binarySuccess(by, body, contentType);
          const isUnsafe = header.unsafe?.includes(id) === true;
          const ended = this.lifecycle.answered(worker, id, outcome, header.ms[index] ?? 0, isUnsafe, now);
          if (ended !== false) {
            effects.push(...ended);
            continue;
          }
          this.tables.statistics.drop("lateAnswer");
          const hasFailed = header.type === "FAIL" && worker.givenUp.get(id)?.kind === "safe";
          this.#letGo(worker, id, isUnsafe || hasFailed, now);
        }
        return effects;
      }
    }
  }

  /** A worker has let go of a job that was answered without it. */
  #letGo(worker: Worker, id: number, isUnsafe: boolean, now: number): void {
    const job = worker.givenUp.get(id);
    worker.givenUp.delete(id);
    if (job !== undefined) this.lifecycle.letGo(job, isUnsafe, now);
  }
}

const noBytes = new Uint8Array(0);
