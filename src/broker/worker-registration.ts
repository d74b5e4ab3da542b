/** Workers join and leave: admission, former connections, conflicts of task policies. */
import { abortGraceMs, dataEndpointsMax, onStopMs, refusalLinesMax, strangeWorkersMax, workersMax } from "../limits.ts";
import type { ReadyHeader } from "../protocol/backend.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import type { Policy } from "../protocol/policy.ts";
import { engineUser } from "../security/access.ts";
import { refusalOfWorker } from "../security/rights.ts";
import type { EmergencyHandler } from "./emergency.ts";
import { type Effect, type NamedPolicy, toWorker } from "./events.ts";
import { retryPolicyOf } from "./job.ts";
import type { JournalRecovery } from "./journal-recovery.ts";
import type { DataPorts, Worker } from "./state.ts";
import type { Tables } from "./tables.ts";
import type { PolicyInForce } from "./task-directory.ts";
import type { WorkerLoss } from "./worker-loss.ts";

export class WorkerRegistration {
  /** Lines that are in the log already: a refused worker tries again with each BEAT. */
  readonly #logged = new Set<string>();

  constructor(
    private readonly tables: Tables,
    private readonly workerLoss: WorkerLoss,
    private readonly emergency: Pick<EmergencyHandler, "tell">,
    private readonly recovery: Pick<JournalRecovery, "joined">,
  ) {}

  /** READY. */
  join(key: string, user: string | null, said: ReadyHeader, now: number): Effect[] {
    const { access, directory, journal, queues, workers } = this.tables;
    const refusal = refusalOfWorker(access, user, said);
    if (refusal !== null) return this.refuse(key, said, "UNAUTHORIZED", refusal);
    // Another worker that claims our supervisor could have one of its processes killed.
    const ready = hasForeignKey(user) ? { ...said, supervised: false } : said;
    const known = workers.get(key);
    // Two WHO that crossed its READY bring a second one; it keeps its jobs.
    if (known !== undefined && known.user === user && known.ready.pid === ready.pid) return this.#welcome(known, now);
    const effects: Effect[] = [];
    // A process has one connection: an older one is gone, even if that news is still on its way.
    for (const other of [...workers].filter((it) => isSameProcess(it.ready, ready))) {
      const end = this.workerLoss.reconnected(other, now);
      if (end !== false) return end;
      effects.push(...this.workerLoss.lose(other, "it has connected anew", now));
    }
    if (known !== undefined) effects.push(...this.workerLoss.lose(known, "another has its name", now));
    const full = this.#whyFull(user);
    if (full !== null) return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", full)];
    if (ready.role === "data" && !directory.addDataWorker(portsOf(ready))) {
      const message = `there are ${dataEndpointsMax} endpoints of data workers already`;
      return [...effects, ...this.refuse(key, ready, "QUEUE_FULL", message)];
    }
    if (ready.role === "journal" && (ready.supervised !== true || journal.key !== null)) {
      const message = "an engine has one journal, which is its own";
      return [...effects, ...this.refuse(key, ready, "UNAUTHORIZED", message)];
    }
    const conflict = this.#conflictOf(ready);
    if (conflict !== null && ready.supervised !== true) {
      return [...effects, ...this.refuse(key, ready, "BAD_FRAME", conflict)];
    }
    // A worker of the engine has read its task files: they have changed since the last reload.
    if (conflict !== null) effects.push(...this.#log(`worker ${ready.id} has read other task files: ${conflict}`));
    const isBack = ready.tasks.some((task) => workers.goneOf(nameOf(task)) !== undefined);
    const worker = workers.add(key, user, ready, now);
    this.tables.events.worker("ready", worker);
    // Jobs that wait for a task that no worker served follow its policy as it is now.
    if (isBack) queues.revise((task) => directory.find(task)?.policy);
    const welcome = [...effects, ...this.#welcome(worker, now)];
    return ready.role === "journal" ? [...welcome, ...this.recovery.joined(key)] : welcome;
  }

  refuse(key: string, ready: ReadyHeader, code: ErrorCode, message: string): Effect[] {
    const { id } = ready;
    this.tables.events.worker("refused", { ready }, message);
    this.tables.statistics.drop("workerNotAdmitted");
    const line = `worker ${id} is not admitted: ${message}; the same again is only counted`;
    return [
      toWorker(key, { type: "REFUSED", code, message }),
      // A conflict of tasks is logged for each worker, any other reason once.
      ...this.#log(line, code === "BAD_FRAME" ? `${id} ${message}` : message),
    ];
  }

  /** After a reload workers with other policies get no more jobs, and are refused once idle. */
  dismissConflicting(): void {
    for (const worker of this.tables.workers) {
      if (worker.ready.supervised === true || worker.ready.role !== "task") continue;
      worker.dismissal = this.#conflictOf(worker.ready);
      if (worker.dismissal !== null) this.leave(worker, worker.dismissal);
    }
  }

  /** LEAVE, or a dismissal: it gets no more jobs. */
  leave(worker: Worker, why: string | null = null): void {
    if (worker.retired === null) this.tables.events.worker("leaving", worker, why);
    worker.retired ??= "leaving";
    this.tables.workers.forgetSources(worker.ready);
  }

  /** Lets a leaving worker go once it holds nothing. */
  release(worker: Worker, now: number): Effect[] {
    if (worker.retired !== "leaving" || worker.held.size > 0 || worker.givenUp.size > 0) return [];
    if (this.tables.workers.get(worker.key) !== worker) return [];
    const { key, ready, dismissal } = worker;
    this.tables.workers.remove(worker, dismissal ?? "it has left", now);
    if (ready.role === "data") this.tables.directory.forgetDataWorker(ready.endpoint);
    this.tables.events.worker("left", worker, dismissal);
    return dismissal === null ? [toWorker(key, { type: "GOODBYE" })] : this.refuse(key, ready, "BAD_FRAME", dismissal);
  }

  /** A worker may remember an emergency stop of an earlier router. */
  #welcome(worker: Worker, now: number): Effect[] {
    return [...this.emergency.tell([worker]), toWorker(worker.key, { type: "WELCOME", at: now })];
  }

  /** Logs each `subject` once. */
  #log(line: string, subject = line): Effect[] {
    if (this.#logged.has(subject) || this.#logged.size >= refusalLinesMax) return [];
    this.#logged.add(subject);
    return [{ to: "log", line }];
  }

  /** Why there is no room for a worker of that user; null if there is. */
  #whyFull(user: string | null): string | null {
    const { workers } = this.tables;
    if (workers.size >= workersMax) return `there are ${workersMax} workers already`;
    if (!hasForeignKey(user)) return null;
    const foreign = [...workers].filter((worker) => hasForeignKey(worker.user)).length;
    return foreign < strangeWorkersMax ? null : `there are ${strangeWorkersMax} workers from elsewhere already`;
  }

  /** The first policy that differs from the one in force, in one line; null if none does. */
  #conflictOf({ tasks }: ReadyHeader): string | null {
    for (const task of tasks) {
      const { name, schema: _, ...policy }: NamedPolicy = typeof task === "string" ? { name: task } : task;
      const known: PolicyInForce | undefined = this.tables.directory.inForce(name);
      const differences = known === undefined ? [] : differencesOf(policy, known.policy);
      if (known === undefined || differences.length === 0) continue;
      const conflict = `${name} has ${differences.join(", ")} (set by ${known.by})`;
      return `READY.tasks: ${conflict}; make them alike, or give one of them another name`;
    }
    return null;
  }
}

/** One of each key that differs: `timeoutMs 3000 here and 5000 in force`. */
const differencesOf = (here: Policy, inForce: Policy): string[] => {
  const [ours, theirs] = [effective(here), effective(inForce)];
  return Object.entries(theirs).flatMap(([key, value]) => {
    const [our, their] = [ours[key as keyof Policy], value].map((it) => JSON.stringify(it) ?? "none");
    return our === their ? [] : [`${key} ${our} here and ${their} in force`];
  });
};

/** A policy with all defaults, so that two ways to say the same are alike. */
const effective = (policy: Policy) =>
  ({
    ttlMs: policy.ttlMs,
    timeoutMs: policy.timeoutMs,
    deadmanMs: policy.deadmanMs,
    graceMs: policy.graceMs ?? abortGraceMs,
    idempotent: retryPolicyOf(policy) ?? false,
    resources: [...new Set(policy.resources)].sort(),
    preemptible: policy.preemptible === true,
    moves: policy.moves !== false,
    resumesAfterRestart: policy.resumesAfterRestart === true,
    schedule: policy.schedule,
    everyMs: policy.everyMs,
    durable: policy.durable === true,
    allowedWhenStopped: policy.allowedWhenStopped === true,
    onStop: policy.onStop === true,
    onStopMs: policy.onStop === true ? (policy.onStopMs ?? onStopMs) : undefined,
  }) satisfies Record<keyof Policy, unknown>;

const nameOf = (task: ReadyHeader["tasks"][number]): string => (typeof task === "string" ? task : task.name);

/**
 * Returns false for every worker of an engine without keys: it listens on loopback, unless
 * `--insecure` was given, and cannot tell its own workers from others.
 */
const hasForeignKey = (user: string | null): boolean => user !== null && user !== engineUser;

const isSameProcess = (a: ReadyHeader, b: ReadyHeader): boolean =>
  a.supervised === true && b.supervised === true && a.pid === b.pid;

const portsOf = ({ endpoint, stream, plain }: ReadyHeader): DataPorts => ({
  publications: endpoint,
  ...(stream !== undefined && { stream }),
  ...(plain !== undefined && { plain }),
});
