/**
 * What requestors ask for, taken in: answered at once, refused, or made to jobs that wait.
 */

import { stoppedMessage } from "../protocol/blocked.ts";
import type { Requestor } from "../protocol/envelope.ts";
import { type Frame, sizeOf } from "../protocol/frame.ts";
import { encodeData } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import type { BadRequest, Control, RequestMessage, TaskPart } from "../protocol/requests.ts";
import { Access } from "../security/access.ts";
import { refusalOfRequest } from "../security/rights.ts";
import { DeadMen } from "./deadman.ts";
import { type Effect, publicationLost } from "./effects.ts";
import { Emergency } from "./emergency.ts";
import { createJob, type Draft, deadmanOf, type Job, openJobs, type Stop } from "./job.ts";
import type { Jobs } from "./jobs.ts";
import { superseded } from "./latest.ts";
import { isStoppable } from "./lifecycle.ts";
import type { Asked, Requests } from "./requests.ts";
import type { DropReason, Statistics } from "./statistics.ts";
import { reportStatus, reportTasks, type SecurityKind } from "./status.ts";
import type { TaskDirectory } from "./task-directory.ts";
import { jobsOf, type Workers } from "./workers.ts";

export class RequestHandler {
  /** Set when the engine stops: nothing is taken in any more. */
  isClosed = false;
  security: SecurityKind = "none";
  /** Who may what, as of now. */
  access = Access.nobody;
  readonly emergency: Emergency;
  readonly #deadMen: DeadMen;

  constructor(
    private readonly requests: Requests,
    private readonly catalogue: TaskDirectory,
    private readonly workers: Workers,
    private readonly jobs: Jobs,
    private readonly statistics: Statistics,
  ) {
    this.emergency = new Emergency(requests, jobs, workers);
    this.#deadMen = new DeadMen(jobs.lifecycle.timers, (its, stop, now) => jobs.stopAll(its, stop, now));
  }

  /** @param user the authenticated name of who asks; null where nobody is known */
  receive(requestor: Requestor, user: string | null, request: RequestMessage | BadRequest, now: number): Effect[] {
    // v0.1 knows no serial: what it sends under that name means nothing.
    const asked: Asked = { requestor, user, meta: request.meta?.version === 0.2 ? request.meta : { version: 0.1 } };
    // Before anything else: who may not run a task is not told whether there is one of that name.
    const refusal = refusalOfRequest(this.access, user, request);
    if (refusal !== null) return this.#refuseUnauthorized(asked, refusal);
    switch (request.kind) {
      case "bad":
        return [this.requests.refuse(asked, request.error.code, request.error.message)];
      case "ping":
        return [this.requests.acknowledge(asked)];
      case "cancel":
        return this.#cancel(asked, request.meta.serial, now);
      case "keepAlive":
        return this.#keepAlive(asked, request.meta.serial, now);
      case "task":
        return this.#acceptTasks(asked, request.parts, now);
      case "data":
        return this.#acceptData(asked, "put", request.topic, request.frame, now);
      case "control":
        return this.#control(asked, request.control, now);
    }
  }

  #refuseUnauthorized(asked: Asked, message: string): Effect[] {
    const effects: Effect[] = [this.requests.refuse(asked, "UNAUTHORIZED", message)];
    if (this.statistics.drop("unauthorized") === 1) {
      effects.push({ to: "log", line: `Refused a request: ${message}; further ones are only counted` });
    }
    return effects;
  }

  #control(asked: Asked, control: Control, now: number): Effect[] {
    const answer = (data: Json): Effect[] => [this.requests.acknowledge(asked, encodeData(data))];
    switch (control.command) {
      case "tasks":
        return answer(reportTasks(this.catalogue, this.workers));
      case "status":
        return answer(
          reportStatus(this.catalogue, this.workers, this.jobs, this.statistics, {
            draining: this.isClosed,
            security: this.security,
            stopped: this.emergency.report(),
          }),
        );
      case "get":
        return this.#acceptData(asked, "get", control.topic, "", now);
      case "cancel": {
        const requests = this.requests.findAll(control.serial);
        const effects = requests.flatMap((request) =>
          this.jobs.stopAll(openJobs(request), cancelledBy("an operator"), now),
        );
        return [...effects, ...answer({ cancelled: requests.length })];
      }
      case "estop":
        return this.emergency.ask(asked, control.reason, now);
      case "reset":
        if (this.isClosed) return this.#refuseClosed(asked);
        return this.emergency.askReset(asked);
    }
  }

  /** Its connection is gone: what it had to stand by ends, and what has not begun never does. @param peer key of that */
  lost(peer: string, now: number): Effect[] {
    const guarded = this.requests
      .guardedOf(peer)
      .flatMap((request) => this.#deadMen.end(request, "the connection of its requestor is gone", now));
    return [...guarded, ...this.jobs.stopAll(this.#unbegunOf(peer), deserted, now), ...this.emergency.lost(peer)];
  }

  /** Jobs of tasks, asked for by one connection, that by what the router knows do not run. @param peer key of that */
  #unbegunOf(peer: string): Job[] {
    const held = [...this.workers].flatMap((worker) => jobsOf(worker).filter((job) => worker.head?.job !== job));
    return [...this.jobs.queues, ...held].filter(
      ({ kind, request }) => kind === "task" && request?.requestor.peer === peer,
    );
  }

  #keepAlive(asked: Asked, serial: string, now: number): Effect[] {
    const request = this.requests.find(asked, serial);
    if (request === undefined) this.statistics.drop("keepAliveOfNoRequest");
    else request.aliveAt = now;
    return [];
  }

  #cancel(asked: Asked, serial: string, now: number): Effect[] {
    const request = this.requests.find(asked, serial);
    if (request !== undefined) return this.jobs.stopAll(openJobs(request), cancelledBy("its requestor"), now);
    const reset = this.emergency.cancelReset(asked, serial);
    if (reset !== null) return reset;
    const message = `no request with serial ${JSON.stringify(serial)} of this requestor waits or runs`;
    return [this.requests.refuse(asked, "UNKNOWN_SERIAL", message)];
  }

  #acceptTasks(asked: Asked, parts: readonly TaskPart[], now: number): Effect[] {
    const drafts: Draft[] = [];
    for (const { name, frame, task } of parts) {
      const known = this.catalogue.find(name);
      // All or nothing: half a batch would be neither what was asked nor an error.
      if (known === undefined) {
        const { code, message } = this.catalogue.whyMissing(name);
        return [this.requests.refuse(asked, code, message)];
      }
      const options = (asked.meta.version === 0.1 ? undefined : task?.options) ?? noOptions;
      const { queue, policy } = known;
      drafts.push({ kind: "task", name: known.name, queue, body: frame, bytes: sizeOf(frame), options, policy });
    }
    for (const draft of drafts) {
      const closed = this.jobs.lifecycle.quarantine.stopOf(draft);
      if (closed !== null) return [this.requests.refuse(asked, closed.code, closed.message)];
    }
    const { stopped } = this.emergency;
    if (stopped !== null && drafts.some(isStoppable)) {
      return [this.requests.refuse(asked, "STOPPED", stoppedMessage(stopped))];
    }
    return this.#accept(asked, drafts, now);
  }

  #acceptData(asked: Asked, kind: "put" | "get", topic: string, body: Frame, now: number): Effect[] {
    const queue = this.catalogue.topicQueue(topic);
    if (queue === undefined) return [this.requests.refuse(asked, "UNAVAILABLE", "there is no data worker")];
    return this.#accept(asked, [dataDraft(kind, topic, queue, body)], now);
  }

  #accept(asked: Asked, drafts: readonly Draft[], now: number): Effect[] {
    if (this.isClosed) return this.#refuseClosed(asked);
    let bytes = 0;
    let deadmanMs = Number.POSITIVE_INFINITY;
    for (const draft of drafts) {
      bytes += draft.bytes;
      deadmanMs = Math.min(deadmanMs, deadmanOf(draft));
    }
    const { queues } = this.jobs;
    // A newer command finds room where the one does that it replaces.
    const replaced = drafts.length === 1 && drafts[0] !== undefined ? this.jobs.replacedBy(drafts[0]) : undefined;
    if (!queues.hasRoom(replaced === undefined ? drafts.length : 0, bytes - (replaced?.bytes ?? 0))) {
      const message = `${queues.jobs} jobs (${queues.bytes} bytes) are waiting already; ask again later`;
      return [this.requests.refuse(asked, "QUEUE_FULL", message)];
    }
    const isGuarded = deadmanMs < Number.POSITIVE_INFINITY;
    if (isGuarded && asked.meta.serial === undefined) {
      const message = `${drafts[0]?.name} runs only while its requestor says KEEPALIVE, which takes version 0.2 and a serial`;
      return [this.requests.refuse(asked, asked.meta.version === 0.1 ? "UNSUPPORTED_VERSION" : "BAD_FRAME", message)];
    }
    const request = this.requests.open(asked, drafts.length, bytes, deadmanMs, now);
    if ("code" in request) return [this.requests.refuse(asked, request.code, request.message)];
    const effects = drafts.flatMap((draft, part) => this.#acceptJob(draft, request, part, now));
    if (!isGuarded) return effects;
    this.#deadMen.watch(request);
    // It knows what it has asked for itself.
    const isKnown = drafts.every(({ options }) => options.deadmanMs === deadmanMs);
    return isKnown ? effects : [this.requests.askKeepAlive(request), ...effects];
  }

  #refuseClosed(asked: Asked): Effect[] {
    return [this.requests.refuse(asked, "SHUTTING_DOWN", "the engine is stopping; ask again once it is back")];
  }

  #acceptJob(draft: Draft, request: Job["request"], part: number, now: number): Effect[] {
    return this.jobs.accept(createJob(draft, this.jobs.lifecycle.nextId(), { request, part }, now), now);
  }

  /**
   * A task's own publication: a job that nobody waits for. Where there is no room for it, it takes that of an older one of its topic.
   * @param user its worker's
   * @param publisher for people
   */
  publish(user: string | null, publisher: string, topic: string, body: Frame, now: number): Effect[] {
    const lose = (reason: DropReason, why: string): Effect[] =>
      this.statistics.drop(reason) === 1 ? [publicationLost(publisher, topic, why)] : [];
    const queue = this.catalogue.topicQueue(topic);
    const missing = this.access.missing(user, "write", topic);
    if (missing !== null) return lose("publicationUnauthorized", "its worker has no right to write it");
    if (queue === undefined) return lose("publicationWithoutDataWorker", "there is no data worker");
    if (this.isClosed) return lose("publicationWhileStopping", "the engine is stopping");
    const draft = { ...dataDraft("put", topic, queue, body), publisher };
    const { queues } = this.jobs;
    if (queues.hasRoom(1, draft.bytes)) return this.#acceptJob(draft, null, 0, now);
    const older = queues.publicationOf(topic);
    if (older === undefined || !queues.hasRoom(0, draft.bytes - older.bytes)) {
      return lose("publicationQueueFull", `${queues.jobs} jobs (${queues.bytes} bytes) are waiting already`);
    }
    return [...this.jobs.stop(older, superseded, now), ...this.#acceptJob(draft, null, 0, now)];
  }
}

const cancelledBy = (who: string): Stop => ({ code: "CANCELLED", message: `${who} cancelled it` });

const deserted: Stop = { code: "CANCELLED", message: "the connection of its requestor ended before it began" };

const noOptions: Draft["options"] = {};

const dataDraft = (kind: "put" | "get", topic: string, queue: string, body: Frame): Draft => ({
  kind,
  name: topic,
  queue,
  body,
  bytes: sizeOf(body),
  options: noOptions,
  policy: {},
});
