/** The owners of the broker's tables, made together. The tables themselves are in state.ts. */
import { Access } from "../security/access.ts";
import { Blocks } from "./blocks.ts";
import { DeadLetters } from "./dead-letters.ts";
import { EngineEvents } from "./engine-events.ts";
import { safeQueue } from "./job.ts";
import { JobHistory } from "./job-history.ts";
import { JobIds } from "./job-ids.ts";
import { JobLogs } from "./job-logs.ts";
import { JobResults } from "./job-results.ts";
import { stateOf } from "./job-states.ts";
import { JournalLogs } from "./journal-logs.ts";
import { JournalWriter } from "./journal-writer.ts";
import { JobQueues } from "./queue.ts";
import { Requests } from "./requests.ts";
import { Runaways } from "./runaways.ts";
import { Resources, SafeStops } from "./safe-stops.ts";
import { Schedules } from "./schedules.ts";
import type { BrokerState } from "./state.ts";
import { Statistics } from "./statistics.ts";
import { TaskDirectory } from "./task-directory.ts";
import { Timers } from "./timers.ts";
import { UniqueJobs } from "./unique-jobs.ts";
import { Workers } from "./workers.ts";

export class Tables {
  /** The rights from now on. */
  access = Access.nobody;
  readonly statistics = new Statistics();
  readonly timers = new Timers();
  readonly blocks = new Blocks();
  readonly requests: Requests;
  readonly ids: JobIds;
  readonly history = new JobHistory();
  readonly logs: JobLogs;
  readonly results: JobResults;
  readonly unique = new UniqueJobs();
  readonly journal = new JournalWriter();
  readonly journalLogs = new JournalLogs(this.journal, this.timers);
  readonly ending: BrokerState["ending"] = new Map();
  readonly dead = new DeadLetters();
  readonly queues = new JobQueues();
  readonly schedules = new Schedules();
  readonly workers = new Workers();
  readonly directory = new TaskDirectory(this.workers);
  readonly events: EngineEvents;
  readonly resources: Resources;
  readonly safeStops: SafeStops;
  readonly runaways: Runaways;
  #nextJobId: number;

  /**
   * @param routerId META's `id` of the router's own answers
   * @param wallSeconds returns the wall time in seconds since 1970
   * @param random 0 ≤ random() < 1
   */
  constructor(
    routerId: string,
    firstJob: number,
    readonly wallSeconds: () => number,
    random: () => number,
  ) {
    this.ids = new JobIds(random);
    this.logs = new JobLogs(wallSeconds);
    this.events = new EngineEvents(this.workers, this.directory, wallSeconds, this.ids);
    this.resources = new Resources(this.events);
    this.requests = new Requests(routerId);
    this.results = new JobResults(this.requests, this.timers, (job) => ({
      job: this.ids.idOf(job.id),
      state: stateOf(job),
      existing: true,
    }));
    this.#nextJobId = firstJob;
    this.safeStops = new SafeStops(this.queues, this.resources, () => this.nextJobId(), wallSeconds);
    this.runaways = new Runaways(this.resources, this.safeStops, (task) => this.isServed(task), wallSeconds);
  }

  /** A time of the broker's clock, in seconds since 1970. */
  wallAt(at: number, now: number): number {
    return this.wallSeconds() - (now - at) / 1000;
  }

  nextJobId(): number {
    return this.#nextJobId++;
  }

  /** Returns true if a worker serves the safe stops of a task, or will: it is the engine's own. */
  isServed(task: string): boolean {
    return this.workers.canServe(safeQueue(task)) || this.directory.isOwn(task);
  }
}
