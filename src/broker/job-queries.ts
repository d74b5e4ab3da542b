/** Answers CONTROL `jobs`, `job`, `result` and `cancel`, which name jobs by their ids. */
import { frameBytesMax, listedArgumentsBytesMax } from "../limits.ts";
import type { ControlOf } from "../protocol/control.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { encodeData } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import type { Right } from "../security/access.ts";
import { refusalOfRight } from "../security/rights.ts";
import type { Effect } from "./events.ts";
import { personOf } from "./job.ts";
import { reportJob } from "./job-report.ts";
import { type AnyJob, isEnded, stateOf } from "./job-states.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { Job, JobLogLine, KeptLine, RequestSender, UniqueJob } from "./state.ts";
import type { Tables } from "./tables.ts";

/** A line with the id of its job in place of the number. */
type ShownLine = Omit<JobLogLine, "job"> & { readonly job: string };

export class JobQueries {
  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
  ) {}

  /** The terminal reply to a request with `detach`. */
  accepted(sender: RequestSender, job: Job): Effect {
    return this.#acceptedAs(sender, job.id, stateOf(job), false);
  }

  /** The reply to a second request of a `unique` key: the job, or its result. */
  instead(sender: RequestSender, { id, job }: UniqueJob, detaches: boolean, now: number): Effect[] {
    const known = job ?? this.tables.history.find(id);
    if (known === undefined) return this.#refuse(sender, unknown(this.tables.ids.idOf(id)));
    if (detaches && job?.durable?.isAccepted === false) return this.lifecycle.durable.waitFor(job, sender);
    if (detaches) return [this.#acceptedAs(sender, id, stateOf(known), true)];
    return this.#resultOf(sender, known, Number.POSITIVE_INFINITY, now);
  }

  list({ task, states, dead, sinceMs, before, limit }: ControlOf<"jobs">, now: number): Json {
    const { ids } = this.tables;
    const end = before === undefined ? Number.POSITIVE_INFINITY : (ids.numberOf(before) ?? 0);
    const since = sinceMs === undefined ? Number.NEGATIVE_INFINITY : now - sinceMs;
    const isMeant = (job: AnyJob): boolean =>
      job.id < end &&
      (task === undefined || job.name === task) &&
      (!isEnded(job) || job.endedAt >= since) &&
      (states === undefined || states.includes(stateOf(job)));
    const found = newest(dead ? this.tables.dead : this.#all(), isMeant, limit + 1);
    const more = found.length > limit ? found[limit - 1] : undefined;
    return {
      jobs: found.slice(0, limit).map((job) => reportJob(this.tables, job, listedArgumentsBytesMax, now)),
      next: more === undefined ? null : ids.idOf(more.id),
    };
  }

  job(sender: RequestSender, id: string, now: number): Effect[] {
    const job = this.#find(sender, id, "observe");
    if ("message" in job) return this.#refuse(sender, job);
    return [this.tables.requests.acknowledge(sender, encodeData(reportJob(this.tables, job, frameBytesMax / 2, now)))];
  }

  result(sender: RequestSender, id: string, waitMs: number, now: number): Effect[] {
    const job = this.#find(sender, id, "observe");
    return "message" in job ? this.#refuse(sender, job) : this.#resultOf(sender, job, waitMs, now);
  }

  cancel(sender: RequestSender, id: string, now: number): Effect[] {
    const job = this.#find(sender, id, "control");
    if ("message" in job) return this.#refuse(sender, job);
    const isOver = isEnded(job);
    const effects = isOver ? [] : this.lifecycle.stop(job, { code: "CANCELLED", message: "it was cancelled" }, now);
    return [...effects, this.tables.requests.acknowledge(sender, encodeData({ cancelled: isOver ? 0 : 1 }))];
  }

  /**
   * The log of an ended job that the journal has comes from there, whole; all other lines from
   * memory.
   */
  logs(sender: RequestSender, control: ControlOf<"logs">, now: number): Effect[] {
    const job = control.job === undefined ? null : this.#find(sender, control.job, "observe");
    if (job !== null && "message" in job) return this.#refuse(sender, job);
    const isElsewhere = job !== null && isEnded(job) && job.isJournaled;
    if (!isElsewhere) return this.#newestLogs(sender, control, job);
    const { ids, journalLogs } = this.tables;
    const id = ids.idOf(job.id);
    const answer = (kept: readonly KeptLine[]): Effect[] => {
      if (kept.length === 0) return this.#newestLogs(sender, control, job);
      const lines = kept.map((line, index) => ({ ...line, job: id, task: job.name, number: index + 1 }));
      const { before = Number.POSITIVE_INFINITY, task = job.name } = control;
      const found = lines.filter((line) => line.number < before && line.task === task);
      return this.#tellLogs(sender, found, control.limit);
    };
    return journalLogs.ask(id, answer, now) ?? this.#newestLogs(sender, control, job);
  }

  #newestLogs(sender: RequestSender, { task, before, limit }: ControlOf<"logs">, job: AnyJob | null): Effect[] {
    const { ids, logs } = this.tables;
    const isMeant = (line: JobLogLine): boolean =>
      (before === undefined || line.number < before) &&
      (job === null || line.job === job.id) &&
      (task === undefined || line.task === task);
    const found = logs.newest(isMeant, limit + 1).map((line) => ({ ...line, job: ids.idOf(line.job) }));
    return this.#tellLogs(sender, found, limit);
  }

  /** @param found lines of which the newest ones are told, and the number of the oldest of these */
  #tellLogs(sender: RequestSender, found: readonly ShownLine[], limit: number): Effect[] {
    const lines = found.slice(-limit);
    const next = found.length > limit ? (lines[0]?.number ?? null) : null;
    const shown = lines.map(({ number: _, ...line }) => line);
    return [this.tables.requests.acknowledge(sender, encodeData({ lines: shown, next }))];
  }

  #resultOf(sender: RequestSender, job: AnyJob, waitMs: number, now: number): Effect[] {
    const { requests, results } = this.tables;
    if (!isEnded(job)) return results.wait(sender, job, waitMs, now);
    if (job.outcome !== null) return [requests.tell(sender, job.outcome)];
    const id = this.tables.ids.idOf(job.id);
    const message = `job ${id} is ${stateOf(job)}, and its result is not kept: its requestor got it, or it had to go`;
    return this.#refuse(sender, { code: "UNKNOWN_JOB", message });
  }

  /** A job that this requestor may see, or why it gets none. @param right for jobs of others */
  #find(sender: RequestSender, id: string, right: Right): AnyJob | ErrorBody {
    const { access, dead, ending, history, ids, queues, workers } = this.tables;
    const number = ids.numberOf(id);
    if (number === null) return unknown(id);
    const open = queues.get(number) ?? workers.holding(number) ?? ending.get(number);
    const job = open ?? history.find(number) ?? dead.find(number)?.ended;
    if (job === undefined || ("kind" in job && job.kind !== "task")) return unknown(id);
    const owner = isEnded(job) ? job.user : job.origin && personOf(job.origin);
    const refusal =
      owner === personOf(sender) ? null : refusalOfRight(access, sender.user, sender.meta.onBehalf, right);
    return refusal === null ? job : { code: "UNAUTHORIZED", message: refusal };
  }

  *#all(): Generator<AnyJob, void, undefined> {
    const { history, queues, workers } = this.tables;
    for (const job of queues) if (job.kind === "task") yield job;
    for (const { held } of workers) for (const { job } of held.values()) if (job.kind === "task") yield job;
    yield* history;
  }

  #acceptedAs(sender: RequestSender, id: number, state: string, existing: boolean): Effect {
    return this.tables.requests.accepted(sender, { job: this.tables.ids.idOf(id), state, existing });
  }

  #refuse(sender: RequestSender, error: ErrorBody): Effect[] {
    return [this.tables.requests.refuse(sender, error)];
  }
}

const unknown = (id: string): ErrorBody => ({
  code: "UNKNOWN_JOB",
  message: `no job ${JSON.stringify(id)} is known, any more or at all`,
});

/** Those with the highest numbers, in falling order. */
const newest = (jobs: Iterable<AnyJob>, isMeant: (job: AnyJob) => boolean, limit: number): AnyJob[] => {
  const found: AnyJob[] = [];
  for (const job of jobs) {
    const last = found[limit - 1];
    if ((last !== undefined && last.id > job.id) || !isMeant(job)) continue;
    const index = found.findIndex(({ id }) => id < job.id);
    found.splice(index < 0 ? found.length : index, 0, job);
    if (found.length > limit) found.pop();
  }
  return found;
};
