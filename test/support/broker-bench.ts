/** A broker on a bench: told what happens in few words, with all that it does noted in the order in which it does it. */

import { Broker } from "../../src/broker/broker.ts";
import type { Effect } from "../../src/broker/events.ts";
import { beatIntervalMs, stopGraceMs } from "../../src/limits.ts";
import type { ReadyHeader, RouterHeader, WorkerHeader } from "../../src/protocol/backend.ts";
import type { ControlInput } from "../../src/protocol/control.ts";
import {
  encodeBatchRequest,
  encodeCancel,
  encodeControlRequest,
  encodeDataRequest,
  encodeKeepAlive,
  encodeTaskPart,
  encodeTaskRequest,
  versionFor,
} from "../../src/protocol/encode-request.ts";
import type { Requestor } from "../../src/protocol/envelope.ts";
import { ProtocolError } from "../../src/protocol/errors.ts";
import type { Frame } from "../../src/protocol/frame.ts";
import { encodeError, encodeMeta, packNow } from "../../src/protocol/frames.ts";
import type { TaskOptions } from "../../src/protocol/policy.ts";
import { decodeReply, type Reply } from "../../src/protocol/replies.ts";
import { decodeRequest } from "../../src/protocol/requests.ts";
import type { BinaryType } from "../../src/protocol/values.ts";
import { Access } from "../../src/security/access.ts";
import { asReceived } from "./frames.ts";

export interface Answer {
  readonly to: string;
  readonly reply: Reply;
}

const bytes = (value: unknown): Uint8Array => Buffer.from(JSON.stringify(value));
const pidOf = (key: string): number => Number(/\d+/.exec(key)?.[0] ?? 1);

/** `leftovers` where nothing is left. */
export const nothing = { waiting: 0, held: 0, resources: [], safings: [] };

const startMs = 1000;

export class BrokerBench {
  readonly broker = new Broker({
    id: "ROUTER-1",
    random: () => 0,
    wallSeconds: () => this.wall,
    security: "none",
    stopGraceMs,
    firstJob: 1,
  });
  now = startMs;
  /** s by which the wall clock was set forward. */
  wallJumpSeconds = 0;
  /** By what name the key of a requestor or of a worker is known; who is not in it comes without one. */
  readonly users = new Map<string, string>();
  readonly answers: Answer[] = [];
  readonly toWorkers: {
    readonly key: string;
    readonly header: RouterHeader;
    readonly bodies: readonly Frame[];
  }[] = [];
  readonly kills: number[] = [];
  readonly logs: string[] = [];
  /** What the supervisor was told besides, in that order. */
  readonly wishes: ("drained" | "estop" | "reset" | "withdrawReset" | "pause" | "reload" | "watchLog")[] = [];
  /** The events of the engine's own topics, with the number of those that were lost before. */
  readonly events: {
    readonly key: string;
    readonly topic: string;
    readonly data: Record<string, unknown>;
    readonly lost: number;
  }[] = [];
  /** Whether the supervisor was told to send the lines of the log, each time. */
  readonly logWishes: boolean[] = [];
  /** The number of the last `estop` or `reset` that it was told. */
  lastRequest = 0;
  /** What it says of the disk at each `estop`: null for good news; undefined for no answer. */
  latchFailure: string | null | undefined = null;
  readonly #stopsAsked: number[] = [];
  /** Numbers of the pauses that the supervisor was told and has not answered. */
  readonly pausesAsked: number[] = [];
  /** The same, of reloads. */
  readonly reloadsAsked: number[] = [];

  /** A worker says READY. `supervised` unless it says otherwise. */
  ready(key: string, tasks: ReadyHeader["tasks"], more: Partial<ReadyHeader> = {}): void {
    const pid = pidOf(key);
    this.say(key, {
      type: "READY",
      role: "task",
      id: `TASK-${pid}`,
      pid,
      tasks,
      endpoint: "",
      supervised: true,
      ...more,
    });
  }

  dataWorker(key: string): void {
    this.ready(key, [], { role: "data", id: "DATA-9", pid: 9, endpoint: "tcp://127.0.0.1:10002" });
  }

  say(key: string, header: WorkerHeader, bodies: readonly Frame[] = []): void {
    this.handle({ type: "worker", key, user: this.users.get(key) ?? null, message: { header, bodies } });
  }

  done(key: string, ...ids: number[]): void {
    this.say(
      key,
      { type: "DONE", jobs: ids, ms: ids.map(() => 0.1) },
      ids.map((id) => bytes({ data: `result ${id}`, pack: 1 })),
    );
  }

  /** A worker gives a binary result. */
  doneBinary(key: string, id: number, contentType: BinaryType, body: Frame): void {
    const { shape, ...type } = contentType;
    const contentTypes = [{ ...type, ...(shape !== undefined && { shape: [...shape] }) }];
    this.say(key, { type: "DONE", jobs: [id], ms: [0.1], contentTypes }, [body]);
  }

  fail(key: string, id: number, code: Parameters<typeof encodeError>[0] = "TASK_ERROR"): void {
    this.say(key, { type: "FAIL", jobs: [id], ms: [0.1] }, [encodeError(code, "it failed")]);
  }

  /** s since 1970 */
  get wall(): number {
    return packNow() + (this.now - startMs) / 1000 + this.wallJumpSeconds;
  }

  /** One job by v0.2, or by 0.3 where its options need that. */
  ask(serial: string, task: string, options: TaskOptions = {}, who = "requestor"): void {
    this.batch(serial, [task], options, who);
  }

  batch(serial: string, tasks: readonly string[], options: TaskOptions = {}, who = "requestor"): void {
    const parts = tasks.map((task) => encodeTaskPart(task, [], {}, options));
    this.#request(who, encodeBatchRequest({ id: who, serial }, parts, versionFor(options)));
  }

  askWith(serial: string, task: string, args: readonly unknown[], options: TaskOptions, who = "requestor"): void {
    this.#request(who, encodeTaskRequest({ id: who, serial }, task, args, {}, options, versionFor(options)));
  }

  askInVersion(version: 0.2 | 0.3, serial: string, task: string, options: TaskOptions, who = "requestor"): void {
    this.#request(who, encodeTaskRequest({ id: who, serial }, task, [], {}, options, version));
  }

  /** One job by v0.3, whose result may be binary. */
  askBinary(serial: string, task: string, who = "requestor"): void {
    this.#request(who, encodeTaskRequest({ id: who, serial }, task, [], {}, {}, 0.3));
  }

  /** By v0.2 without a serial. */
  askUnnamed(task: string, options: TaskOptions = {}, who = "requestor"): void {
    const meta = encodeMeta({ id: who, role: "requestor", version: 0.2, type: "REQ", pack: 1 });
    this.#request(who, [meta, encodeTaskPart(task, [], {}, options)]);
  }

  askOld(task: string, who = "old"): void {
    const meta = encodeMeta({ id: who, role: "requestor", version: 0.1, type: "REQ", pack: 1 });
    this.#request(who, [meta, encodeTaskPart(task, [], {})]);
  }

  put(serial: string, topic: string, data: unknown, who = "requestor"): void {
    this.#request(who, encodeDataRequest({ id: who, serial }, topic, data));
  }

  control(control: ControlInput, who = "operator"): void {
    this.#request(who, encodeControlRequest({ id: who, serial: control.command }, control));
  }

  cancel(serial: string, who = "requestor"): void {
    this.#request(who, encodeCancel({ id: who, serial }));
  }

  keepAlive(serial: string, who = "requestor"): void {
    this.#request(who, encodeKeepAlive({ id: who, serial }));
  }

  /** A requestor's connection is gone. */
  lose(who: string): void {
    this.handle({ type: "requestorGone", peer: who, cutReason: null });
  }

  /** A supervised worker dies, its connection with it. @param begun the last job that it had begun, 0 for none */
  die(key: string, begun: number): void {
    this.handle({ type: "gone", pid: pidOf(key), begun });
    this.handle({ type: "disconnected", key });
  }

  estop(reason = "", who = "operator"): void {
    this.control({ command: "estop", reason }, who);
  }

  /** The supervisor's word that the emergency stop is over. */
  resume(): void {
    this.handle({ type: "stopped", stopped: null });
  }

  /** The supervisor's word on whether the stop is on the disk. */
  latched(request: number, failure: string | null): void {
    this.handle({ type: "latched", request, failure });
  }

  /** Somebody asks for the end of the emergency stop, and the supervisor grants it. */
  reset(): void {
    this.control({ command: "reset" });
    this.resume();
  }

  /** The tasks whose `onStop` a worker was told to run, in that order. */
  safesOf(key: string): string[] {
    return this.headersOf(key).flatMap((header) => (header.type === "SAFE" ? [header.task] : []));
  }

  /** Answers the last SAFE that a worker was told. */
  made(key: string, how: "safe" | "unsafe"): void {
    const id = this.headersOf(key).flatMap((header) => (header.type === "SAFE" ? [header.job] : []));
    if (how === "safe") this.done(key, id.at(-1) ?? 0);
    else this.fail(key, id.at(-1) ?? 0);
  }

  /** A job has ended other than by itself, and so has its `onStop`: with an error. */
  failUnsafe(key: string, id: number): void {
    const body = encodeError("TASK_ERROR", "it failed");
    this.say(key, { type: "FAIL", jobs: [id], ms: [1], unsafe: [id] }, [body]);
  }

  /** `id: CODE` of each abort signal that a worker was told, in that order. */
  abortsOf(key: string): string[] {
    return this.headersOf(key).flatMap((header) => (header.type === "ABORT" ? [`${header.job}: ${header.code}`] : []));
  }

  /** `motors: drive held +2`: each resource, which task holds it and how, and how many wait for it. */
  get resources(): string[] {
    const all = this.status.resources as unknown as {
      name: string;
      holder: { task: string; state: string } | null;
      waiting: number;
    }[];
    return all.map(({ name, holder, waiting }) =>
      [
        `${name}:`,
        holder === null ? "free" : `${holder.task} ${holder.state}`,
        ...(waiting > 0 ? [`+${waiting}`] : []),
      ].join(" "),
    );
  }

  /** `drive failed 2 INTERRUPTED`: each run of an `onStop` that has not succeeded, its tries before, and what it is for. */
  get safings(): string[] {
    const all = this.status.safings as unknown as {
      task: string;
      state: string;
      tries: number;
      why: { code: string };
    }[];
    return all.map(({ task, state, tries, why }) => `${task} ${state} ${tries} ${why.code}`);
  }

  /** What is kept of jobs that have not ended. */
  get leftovers(): unknown {
    const { jobs, resources, safings } = this.status;
    return { waiting: jobs?.waiting, held: jobs?.held, resources, safings };
  }

  /** Who may what from now on: `laptop send:count` a line. */
  authorize(...lines: readonly string[]): void {
    const keyed = lines.map((line) => `${line.split(" ")[0]?.padEnd(40, "k")} ${line}`);
    const access = Access.parse(keyed.join("\n"));
    if (typeof access === "string") throw new Error(access);
    this.handle({ type: "access", access });
  }

  /** Lets time pass, with a tick at each time that the broker asks for. */
  pass(ms: number): void {
    const end = this.now + ms;
    for (let at = this.broker.nextAt; at !== null && at <= end; at = this.broker.nextAt) {
      this.now = Math.max(at, this.now);
      this.handle({ type: "tick" });
    }
    this.now = end;
    this.handle({ type: "tick" });
  }

  /** The same, while these workers beat. */
  passWith(keys: readonly string[], ms: number): void {
    const end = this.now + ms;
    while (this.now < end) {
      this.pass(Math.min(beatIntervalMs, end - this.now));
      for (const key of keys) this.say(key, { type: "BEAT" });
    }
  }

  handle(event: Parameters<Broker["handle"]>[0]): void {
    this.#note(this.broker.handle(event, this.now));
    for (const request of this.#stopsAsked.splice(0)) this.#confirmStop(request);
    this.#note(this.broker.dispatch(this.now));
  }

  /** Makes a task known as a short one, so that several of it are handed over at a time. */
  learn(key: string, task: string): void {
    this.ask("learn", task);
    this.done(key, this.jobsOf(key).at(-1) ?? 0);
    this.answers.length = 0;
    this.toWorkers.length = 0;
  }

  /** Ids of all jobs that a worker was handed, in that order. */
  jobsOf(key: string): number[] {
    return this.toWorkers.flatMap(({ key: to, header }) =>
      to === key && (header.type === "JOBS" || header.type === "PUT" || header.type === "GET") ? header.jobs : [],
    );
  }

  headersOf(key: string): RouterHeader[] {
    return this.toWorkers.filter((message) => message.key === key).map(({ header }) => header);
  }

  /** `serial: code` of each last word, `ACK` for a success, in that order. */
  get ends(): string[] {
    return this.answers
      .filter(({ reply }) => reply.kind !== "progress" && reply.kind !== "keepAlive")
      .map(({ reply }) => `${reply.meta.serial ?? "-"}: ${reply.kind === "error" ? reply.error.code : "ACK"}`);
  }

  /** What CONTROL status answers. */
  get status(): Record<string, Record<string, unknown>> {
    const before = this.answers.length;
    this.control({ command: "status" });
    const [answer] = this.answers.splice(before);
    if (answer?.reply.kind !== "ack") throw new Error("CONTROL status was not answered");
    return answer.reply.data as unknown as Record<string, Record<string, unknown>>;
  }

  #request(who: string, frames: readonly Frame[]): void {
    const requestor = { peer: who, envelope: [] };
    const user = this.users.get(who) ?? null;
    this.handle({ type: "request", requestor, user, request: decodeRequest(asReceived(frames)) });
  }

  #note(effects: readonly Effect[]): void {
    for (const effect of effects) {
      if (effect.to === "requestor") this.#noteAnswer(effect.requestor, asReceived(effect.frames));
      else if (effect.to === "worker") this.toWorkers.push(effect);
      else if (effect.to === "log") this.logs.push(effect.line);
      else if (effect.to === "event") this.events.push({ ...effect, data: JSON.parse(effect.body).data });
      else this.#tellSupervisor(effect);
    }
  }

  #tellSupervisor(effect: Extract<Effect, { readonly to: "supervisor" }>): void {
    if (effect.type === "kill") return void this.kills.push(effect.pid);
    this.wishes.push(effect.type);
    if (effect.type === "pause") this.pausesAsked.push(effect.request);
    if (effect.type === "reload") this.reloadsAsked.push(effect.request);
    if (effect.type === "watchLog") this.logWishes.push(effect.isWatched);
    if (effect.type !== "estop" && effect.type !== "reset") return;
    this.lastRequest = effect.request;
    if (effect.type === "estop") this.#stopsAsked.push(effect.request);
  }

  #confirmStop(request: number): void {
    const { latchFailure: failure } = this;
    if (failure !== undefined) this.#note(this.broker.handle({ type: "latched", request, failure }, this.now));
  }

  #noteAnswer({ peer: to }: Requestor, frames: readonly Frame[]): void {
    const reply = decodeReply(frames);
    if (reply instanceof ProtocolError) throw new Error(reply.message);
    this.answers.push({ to, reply });
  }
}
