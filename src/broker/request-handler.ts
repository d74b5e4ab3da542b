/** The messages of requestors: each is answered at once, refused, or becomes jobs. */

import type { Control, ControlOf } from "../protocol/control.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { ErrorBody } from "../protocol/errors.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { encodeData, taskName } from "../protocol/frames.ts";
import type { Json, JsonObject } from "../protocol/json.ts";
import type { BadRequest, RequestMessage, TaskPart } from "../protocol/requests.ts";
import { refusalOfRequest } from "../security/rights.ts";
import { DeadLetterRequests } from "./dead-letter-requests.ts";
import type { EmergencyHandler } from "./emergency.ts";
import type { Effect } from "./events.ts";
import { dataDraft, deadmanOf, isDetached, isDurable, isStoppable, jobsOf, noOptions, openJobs } from "./job.ts";
import { JobQueries } from "./job-queries.ts";
import type { JobLifecycle } from "./lifecycle.ts";
import type { PauseHandler } from "./pauses.ts";
import type { ReloadRequests } from "./reload-requests.ts";
import type { ScheduleRuns } from "./schedule-runs.ts";
import type { Draft, EndReason, OpenRequest, RequestSender, UniqueJob } from "./state.ts";
import { reportStatus, reportTasks, type SecurityKind } from "./status.ts";
import type { Tables } from "./tables.ts";
import { refusalOfOptions } from "./unattended.ts";
import { hashOfArguments } from "./unique-jobs.ts";

export class RequestHandler {
  readonly #queries: JobQueries;
  readonly #deadLetters: DeadLetterRequests;

  constructor(
    private readonly tables: Tables,
    private readonly lifecycle: JobLifecycle,
    private readonly emergency: EmergencyHandler,
    private readonly scheduleRuns: ScheduleRuns,
    private readonly pauses: PauseHandler,
    private readonly reloads: ReloadRequests,
    private readonly security: SecurityKind,
  ) {
    this.#queries = new JobQueries(tables, lifecycle);
    this.#deadLetters = new DeadLetterRequests(tables, lifecycle);
  }

  /** @param user name of the key of the requestor; null in an engine without keys */
  receive(requestor: Requestor, user: string | null, request: RequestMessage | BadRequest, now: number): Effect[] {
    const { access, requests } = this.tables;
    // A `serial` in version 0.1 means nothing.
    const meta = request.meta === null || request.meta.version === 0.1 ? ({ version: 0.1 } as const) : request.meta;
    const sender: RequestSender = { requestor, user, meta };
    // First of all: a client without the right to run a task does not learn whether it exists.
    const refusal = refusalOfRequest(access, user, request);
    if (refusal !== null) return this.#refuseUnauthorized(sender, refusal);
    switch (request.kind) {
      case "bad":
        return [requests.refuse(sender, request.error)];
      case "ping":
        return [requests.acknowledge(sender)];
      case "cancel":
        return this.#cancel(sender, request.meta.serial, now);
      case "keepAlive":
        return this.#keepAlive(sender, request.meta.serial, now);
      case "task":
        return this.#acceptTasks(sender, request.parts, now);
      case "data":
        return this.#acceptData(sender, "put", request.topic, request.frame, now);
      case "control":
        return this.#control(sender, request.control, now);
    }
  }

  /** A connection is gone: its jobs with a dead man end, and those that do not run. */
  requestorGone(peer: string, now: number): Effect[] {
    const { queues, requests, results, workers } = this.tables;
    results.requestorGone(peer);
    const guarded = requests
      .guardedOf(peer)
      .flatMap((request) => this.#endGuarded(request, "the connection of its requestor is gone", now));
    const dispatched = [...workers].flatMap((worker) => jobsOf(worker).filter(({ state }) => state === "dispatched"));
    const notRunning = [...queues, ...dispatched].filter(
      (job) => job.kind === "task" && job.request?.requestor.peer === peer && !isDetached(job),
    );
    return [...guarded, ...this.lifecycle.stopAll(notRunning, deserted, now), ...this.emergency.requestorGone(peer)];
  }

  #refuse(sender: RequestSender, reason: ErrorBody): Effect[] {
    return [this.tables.requests.refuse(sender, reason)];
  }

  #refuseUnauthorized(sender: RequestSender, message: string): Effect[] {
    const effects = this.#refuse(sender, { code: "UNAUTHORIZED", message });
    if (this.tables.statistics.drop("unauthorized") === 1) {
      effects.push({ to: "log", line: `Refused a request: ${message}; further ones are only counted` });
    }
    return effects;
  }

  #control(sender: RequestSender, control: Control, now: number): Effect[] {
    const { blocks, requests } = this.tables;
    const answer = (data: Json): Effect[] => [requests.acknowledge(sender, encodeData(data))];
    switch (control.command) {
      case "tasks":
        return answer(reportTasks(this.tables));
      case "status":
        return answer(reportStatus(this.tables, this.security, this.emergency.report()));
      case "get":
        return this.#acceptData(sender, "get", control.topic, "", now);
      case "cancel": {
        if (control.job !== undefined) return this.#queries.cancel(sender, control.job, now);
        const found = requests.findAll(control.serial ?? "");
        const jobs = found.flatMap(openJobs);
        return [
          ...this.lifecycle.stopAll(jobs, cancelledBy("an operator"), now),
          ...answer({ cancelled: found.length }),
        ];
      }
      case "estop":
        return this.emergency.estop(sender, control.reason, now);
      case "jobs":
        return answer(this.#queries.list(control, now));
      case "job":
        return this.#queries.job(sender, control.job, now);
      case "result":
        return this.#queries.result(sender, control.job, control.waitMs, now);
      case "schedules":
        return answer({ schedules: this.scheduleRuns.report(now) });
      case "schedule":
        return this.#controlSchedule(sender, control, now);
      case "logs":
        return this.#queries.logs(sender, control, now);
      case "retry":
        return this.#deadLetters.retry(sender, control.job, control.confirm, now);
      case "discard":
        return this.#deadLetters.discard(sender, control.job, now);
      case "pause":
        return this.pauses.pauseTask(sender, taskName(control.task), now);
      case "resume":
        return this.pauses.resumeTask(sender, taskName(control.task), now);
      case "reload":
        return this.reloads.ask(sender);
      case "reset":
        return blocks.closed === null ? this.emergency.reset(sender) : this.#refuse(sender, closed);
    }
  }

  #controlSchedule(sender: RequestSender, { name, action }: ControlOf<"schedule">, now: number): Effect[] {
    const { requests, schedules } = this.tables;
    const schedule = schedules.find(name);
    if (schedule === undefined) return this.#refuse(sender, unknownSchedule(name));
    const report = (): JsonObject => ({ ...this.scheduleRuns.report(now).find((it) => it.name === name) });
    if (action !== "run") return this.pauses.setSchedule(sender, name, action === "pause", report, now);
    const effects = this.scheduleRuns.runNow(schedule, now);
    return "code" in effects
      ? this.#refuse(sender, effects)
      : [...effects, requests.acknowledge(sender, encodeData(report()))];
  }

  #keepAlive(sender: RequestSender, serial: string, now: number): Effect[] {
    const request = this.tables.requests.find(sender, serial);
    if (request === undefined) this.tables.statistics.drop("keepAliveOfNoRequest");
    else request.aliveAt = now;
    return [];
  }

  #cancel(sender: RequestSender, serial: string, now: number): Effect[] {
    const request = this.tables.requests.find(sender, serial);
    const waiting = request === undefined ? null : this.tables.results.cancel(request);
    if (waiting !== null) return waiting;
    if (request !== undefined) return this.lifecycle.stopAll(openJobs(request), cancelledBy("its requestor"), now);
    const reset = this.emergency.cancelReset(sender, serial);
    if (reset !== null) return reset;
    const message = `no request with serial ${JSON.stringify(serial)} of this requestor waits or runs`;
    return this.#refuse(sender, { code: "UNKNOWN_SERIAL", message });
  }

  #acceptTasks(sender: RequestSender, parts: readonly TaskPart[], now: number): Effect[] {
    const { blocks, directory } = this.tables;
    const drafts: Draft[] = [];
    // All parts of a batch or none are accepted.
    for (const { name, frame, task } of parts) {
      const known = directory.find(name);
      if (known === undefined) return this.#refuse(sender, directory.whyMissing(name));
      const options = (sender.meta.version === 0.1 ? undefined : task.options) ?? noOptions;
      const { queue, policy } = known;
      drafts.push({ kind: "task", name: known.name, queue, body: frame, bytes: sizeOf(frame), options, policy });
    }
    for (const draft of drafts) {
      const refusal = blocks.quarantineOf(draft) ?? refusalOfOptions(draft, drafts.length);
      if (refusal !== null) return this.#refuse(sender, refusal);
    }
    const { stopReason } = blocks;
    if (stopReason !== null && drafts.some(isStoppable)) return this.#refuse(sender, stopReason);
    const [draft] = drafts;
    const [part] = parts;
    if (draft?.options.unique === undefined || part === undefined) return this.#accept(sender, drafts, now);
    return this.#acceptUnique(sender, draft, hashOfArguments(part), now);
  }

  /** A job of the same key is given in place of a new one. @param args hash of the arguments */
  #acceptUnique(sender: RequestSender, draft: Draft, args: UniqueJob["args"], now: number): Effect[] {
    const { unique } = this.tables;
    const found = unique.find(draft, now);
    if (found === undefined) {
      if (unique.hasRoom(now)) return this.#accept(sender, [draft], now, args);
      return this.#refuse(sender, { code: "QUEUE_FULL", message: "too many `unique` keys are in use" });
    }
    if (found.args === args) return this.#queries.instead(sender, found, isDetached(draft), now);
    const message = `a job of ${draft.name} with this unique key has other arguments`;
    return this.#refuse(sender, { code: "BAD_ARGS", message });
  }

  #acceptData(sender: RequestSender, kind: "put" | "get", topic: string, body: Frame, now: number): Effect[] {
    const queue = this.tables.directory.topicQueue(topic);
    if (queue === undefined) return this.#refuse(sender, { code: "UNAVAILABLE", message: "there is no data worker" });
    return this.#accept(sender, [dataDraft(kind, topic, queue, body)], now);
  }

  #accept(sender: RequestSender, drafts: readonly Draft[], now: number, args?: UniqueJob["args"]): Effect[] {
    const { blocks, journal, queues, requests } = this.tables;
    if (blocks.closed !== null) return this.#refuse(sender, closed);
    let bytes = 0;
    let deadmanMs = Number.POSITIVE_INFINITY;
    let durable: Draft | null = null;
    for (const draft of drafts) {
      bytes += draft.bytes;
      deadmanMs = Math.min(deadmanMs, deadmanOf(draft));
      if (draft.options !== noOptions && isDurable(draft)) durable ??= draft;
    }
    const [first] = drafts;
    // A newer job has the room of the one that it supersedes.
    const supersedes = drafts.length === 1 && first?.options.latest !== undefined;
    const replaced = supersedes ? this.lifecycle.replacedBy(first) : undefined;
    if (!queues.hasRoom(replaced === undefined ? drafts.length : 0, bytes - (replaced?.bytes ?? 0))) {
      const message = `${queues.jobs} jobs (${queues.bytes} bytes) are waiting already; ask again later`;
      return this.#refuse(sender, { code: "QUEUE_FULL", message });
    }
    const isGuarded = deadmanMs < Number.POSITIVE_INFINITY;
    if (isGuarded && sender.meta.serial === undefined) {
      const need = "runs only while its requestor says KEEPALIVE, which takes version 0.2 and a serial";
      const message = `${drafts[0]?.name} ${need}`;
      const code = sender.meta.version === 0.1 ? "UNSUPPORTED_VERSION" : "BAD_FRAME";
      return this.#refuse(sender, { code, message });
    }
    const full = durable === null ? null : journal.whyClosed(durable.bytes, now);
    if (full !== null) return this.#refuse(sender, full);
    const isAlone = first !== undefined && isDetached(first);
    const request = requests.open(sender, drafts.length, bytes, deadmanMs, now, isAlone);
    if ("code" in request) return this.#refuse(sender, request);
    const effects = drafts.flatMap((draft, part) => this.lifecycle.accept(draft, request, part, now));
    const [job] = request.jobs;
    if (job !== undefined && args !== undefined) this.tables.unique.add(job, args);
    // ACCEPTED of a durable job waits for the disk.
    if (isAlone && job !== undefined && job.durable === null) return [this.#queries.accepted(sender, job), ...effects];
    if (!isGuarded) return effects;
    this.#watch(request);
    // The requestor knows the limit that it has asked for itself.
    const isKnown = drafts.every(({ options }) => options.deadmanMs === deadmanMs);
    return isKnown ? effects : [requests.askKeepAlive(request), ...effects];
  }

  /* ── Dead man ── */

  /** Ends the guarded jobs of a request once its requestor has been silent for its `deadmanMs`. */
  #watch(request: OpenRequest): void {
    const endAt = (): number => request.aliveAt + request.deadmanMs;
    this.tables.timers.add({
      at: endAt(),
      isAlive: () => request.left > 0,
      fire: (now) => {
        // The sum of the timer itself: with another one, rounding could keep it short for ever.
        if (endAt() <= now) {
          return this.#endGuarded(request, `its requestor was quiet for ${request.deadmanMs} ms`, now);
        }
        this.#watch(request);
        return [];
      },
    });
  }

  #endGuarded(request: OpenRequest, message: string, now: number): Effect[] {
    const guarded = openJobs(request).filter((job) => deadmanOf(job) < Number.POSITIVE_INFINITY);
    return this.lifecycle.stopAll(guarded, { code: "DEADMAN", message }, now);
  }
}

const closed: EndReason = { code: "SHUTTING_DOWN", message: "the engine is stopping; ask again once it is back" };

const unknownSchedule = (name: string): EndReason => ({
  code: "UNKNOWN_TASK",
  message: `there is no schedule ${JSON.stringify(name)}; \`task-engine schedule list\` lists those that there are`,
});

const deserted: EndReason = { code: "CANCELLED", message: "the connection of its requestor ended" };

const cancelledBy = (name: string): EndReason => ({ code: "CANCELLED", message: `${name} cancelled it` });
