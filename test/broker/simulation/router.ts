/** The router's shell, simulated: the real broker, without sockets and with the simulated clock. */

import { Broker } from "../../../src/broker/broker.ts";
import type { BrokerEvent, Effect } from "../../../src/broker/events.ts";
import {
  beatIntervalMs,
  queueBytesMax,
  queueJobsMax,
  stopGraceMs,
  workerCreditMax,
  workersMax,
} from "../../../src/limits.ts";
import { decodeFromWorker } from "../../../src/protocol/backend.ts";
import type { Stopped } from "../../../src/protocol/blocked.ts";
import type { ControlInput } from "../../../src/protocol/control.ts";
import { encodeControlRequest } from "../../../src/protocol/encode-request.ts";
import type { Requestor } from "../../../src/protocol/envelope.ts";
import { ProtocolError } from "../../../src/protocol/errors.ts";
import type { Frame } from "../../../src/protocol/frame.ts";
import type { Json } from "../../../src/protocol/json.ts";
import { decodeReply, type Reply } from "../../../src/protocol/replies.ts";
import { decodeRequest } from "../../../src/protocol/requests.ts";
import type { ScheduleReport } from "../../../src/protocol/schedules.ts";
import { asReceived } from "../../support/frames.ts";
import { Absent } from "./absent.ts";
import { Durable } from "./durable.ts";
import { readTask } from "./hands.ts";
import { check, Violation } from "./ledger.ts";
import type { World } from "./world.ts";

export interface Status {
  readonly draining: boolean;
  readonly jobs: {
    readonly accepted: number;
    readonly done: number;
    readonly failed: Readonly<Record<string, number>>;
    readonly waiting: number;
    readonly held: number;
    readonly dropped: Readonly<Record<string, number>>;
  };
  readonly queue: { readonly jobs: number; readonly bytes: number };
  readonly workers: readonly { readonly id: string; readonly held: number }[];
}

/** A job as CONTROL `jobs` shows it. */
export interface ListedJob {
  readonly job: string;
  readonly requestor: string | null;
  readonly state: string;
  readonly code: string | null;
  /** seconds since 1970; null before its end */
  readonly ended: number | null;
}

const operator = "operator";
const asked = "asked";
const statusEvery = 100;
const jobsEvery = 500;
/** Ticks without time between them: more are a timer that does nothing but set itself again. */
const ticksAtOnceMax = 1000;

export class SimulatedRouter {
  broker: Broker;
  /** It has died, and the next one does not hear anybody yet. */
  isDown = false;
  drainedSaid = 0;
  events = 0;
  #tickAt = Number.POSITIVE_INFINITY;
  #ticksAtOnce = 0;
  #routers = 0;
  /** What the operator was answered last. */
  #answer: Json | null = null;
  /** What workers have said to one that does not hear yet. */
  #unheard: BrokerEvent[] = [];

  constructor(private readonly world: World) {
    this.broker = this.#newBroker();
    this.#tickRegularly();
  }

  die(): void {
    this.isDown = true;
    this.world.life.routerDied();
    this.world.absent.forget();
    this.#tickAt = Number.POSITIVE_INFINITY;
    this.broker = this.#newBroker();
  }

  /** The next one is told all that it has to know before it hears anybody. */
  start(stopped: Stopped | null): void {
    this.isDown = false;
    this.world.rights.tell();
    this.handle({ type: "stopped", stopped });
    this.world.tellClosed();
    this.world.pauses.tell();
    this.world.timetable.begin();
    this.world.tellTasks(true);
    for (const event of this.#unheard.splice(0)) this.handle(event);
  }

  #newBroker(): Broker {
    return new Broker({
      id: "ROUTER-1",
      random: this.world.random.next,
      wallSeconds: () => this.world.wallMs / 1000,
      security: "none",
      stopGraceMs,
      firstJob: 1 + 1_000_000 * this.#routers++,
    });
  }

  handle(event: BrokerEvent): void {
    if (this.isDown) {
      if (event.type === "worker") this.#unheard.push(event);
      return;
    }
    this.#perform(this.broker.handle(event, this.world.agenda.now));
    // The shell hands out once for all that it reads at a time.
    if (this.world.random.chance(0.8)) this.#dispatch();
    else this.world.agenda.after(this.world.random.between(0, 0.5), () => this.#dispatch());
    if (++this.events % statusEvery === 0) this.status();
    if (this.events % jobsEvery === 0) this.compareJobs();
  }

  fromWorker(key: string, user: string | null, frames: readonly Frame[]): void {
    const message = decodeFromWorker(frames);
    if (message instanceof ProtocolError) this.broker.drop("workersMessage");
    else this.handle({ type: "worker", key, user, message });
  }

  /** An operator's wish. */
  control(control: ControlInput): void {
    this.fromRequestor(operator, encodeControlRequest({ id: operator, serial: control.command }, control));
  }

  fromRequestor(peer: string, frames: readonly Frame[]): void {
    const request = decodeRequest(asReceived(frames));
    const user = this.world.rights.userOf(peer);
    this.handle({ type: "request", requestor: { peer, envelope: [] }, user, request });
  }

  /** What the router says of itself, which must be sound at any time. */
  status(): Status {
    const status = this.#ask({ command: "status" }) as unknown as Status;
    const { jobs, queue, workers } = status;
    const failed = Object.values(jobs.failed).reduce((sum, count) => sum + count, 0);
    check(
      jobs.accepted === jobs.done + failed + jobs.waiting + jobs.held,
      `jobs do not add up: ${JSON.stringify(jobs)}`,
    );
    const heldMax = workersMax * workerCreditMax;
    check(
      queue.jobs <= queueJobsMax + heldMax && queue.bytes <= queueBytesMax,
      `too much waits: ${JSON.stringify(queue)}`,
    );
    check(workers.length <= workersMax, `${workers.length} workers`);
    for (const { id, held } of workers) check(held <= workerCreditMax, `worker ${id} holds ${held} jobs`);
    return status;
  }

  /** All jobs that it knows, the newest first. */
  jobs(): ListedJob[] {
    const all: ListedJob[] = [];
    for (let next: string | null | undefined; next !== null; ) {
      const before: { before?: string } = next === undefined ? {} : { before: next };
      const page = this.#ask({ command: "jobs", ...before }) as unknown as { jobs: ListedJob[]; next: string | null };
      all.push(...page.jobs);
      next = page.next;
    }
    return all;
  }

  compareJobs(): void {
    const jobs = this.jobs();
    this.world.life.compareHistory(jobs);
    this.world.timetable.compare(jobs);
  }

  schedules(): ScheduleReport[] {
    return (this.#ask({ command: "schedules" }) as unknown as { schedules: ScheduleReport[] }).schedules;
  }

  /** What an operator is answered at once. */
  #ask(control: ControlInput): Json {
    this.#answer = null;
    const request = decodeRequest(asReceived(encodeControlRequest({ id: operator, serial: asked }, control)));
    const requestor = { peer: operator, envelope: [] };
    const user = this.world.rights.userOf(operator);
    this.#perform(this.broker.handle({ type: "request", requestor, user, request }, this.world.agenda.now));
    if (this.#answer === null) throw new Violation(`CONTROL ${control.command} was not answered`);
    return this.#answer;
  }

  #dispatch(): void {
    if (this.isDown) return;
    this.#perform(this.broker.dispatch(this.world.agenda.now));
    this.#plan();
  }

  #tickRegularly(): void {
    this.world.agenda.after(beatIntervalMs, () => {
      this.handle({ type: "tick" });
      if (this.broker.waitsForClock && this.world.random.chance(0.7)) this.handle({ type: "clock" });
      this.#tickRegularly();
    });
  }

  #plan(): void {
    const { nextAt } = this.broker;
    if (nextAt === null || nextAt >= this.#tickAt) return;
    const { agenda, random } = this.world;
    // An alarm is never early, and often late.
    const at = Math.max(nextAt, agenda.now) + (random.chance(0.5) ? 0 : random.between(0, 3));
    this.#ticksAtOnce = at > agenda.now ? 0 : this.#ticksAtOnce + 1;
    check(this.#ticksAtOnce < ticksAtOnceMax, "a timer keeps firing");
    this.#tickAt = at;
    agenda.at(at, () => {
      if (this.#tickAt !== at) return;
      this.#tickAt = Number.POSITIVE_INFINITY;
      this.handle({ type: "tick" });
      this.#plan();
    });
  }

  #perform(effects: readonly Effect[]): void {
    this.world.life.take(effects);
    for (const effect of effects) {
      switch (effect.to) {
        case "requestor":
          this.#reply(effect.requestor, asReceived(effect.frames));
          break;
        case "worker": {
          if (effect.header.type === "JOBS")
            for (const [index, { name, uid }] of effect.bodies.map(readTask).entries()) {
              this.world.emergencies.handOver(name);
              this.world.pauses.handOver(name);
              this.world.timetable.handOver(uid, effect.header.jobs[index] ?? 0);
              check(!this.world.isClosed(name), `${name} is handed over in quarantine`);
            }
          const link = this.world.links.get(effect.key);
          if (link?.isKnown === true) link.deliver(effect);
          // libzmq says that it cannot be reached.
          else this.#perform(this.broker.handle({ type: "disconnected", key: effect.key }, this.world.agenda.now));
          break;
        }
        case "supervisor":
          if (effect.type === "kill") this.world.kill(effect.pid);
          else if (effect.type === "drained") this.drainedSaid++;
          else if (effect.type === "reset") this.world.emergencies.resume();
          else if (effect.type === "watchLog" || effect.type === "reload") break;
          else if (effect.type === "pause") this.world.pauses.keep(effect);
          else if (effect.type === "withdrawReset") this.world.emergencies.withdraw(effect.stopped);
          else this.world.emergencies.latch(effect.request);
          break;
        case "log":
          if (effect.line.includes("cannot be killed")) this.world.ledger.faults++;
          break;
      }
    }
  }

  #reply({ peer: requestor }: Requestor, frames: readonly Frame[]): void {
    const reply = decodeReply(frames);
    if (reply instanceof ProtocolError) throw new Violation(`a reply that nobody understands: ${reply.message}`);
    if (Absent.isOne(requestor)) this.world.absent.hear(reply);
    else if (Durable.isOne(requestor)) this.world.durable.hear(reply);
    else if (requestor === operator) this.#told(reply);
    else if (this.world.ledger.reply(requestor, reply, this.world.agenda.now))
      this.world.requestors.answered(requestor, reply.meta.serial);
  }

  #told(reply: Reply): void {
    // A reset that a newer emergency stop has overtaken, or that comes when the engine ends.
    const voidCode = this.world.ledger.stopping ? "SHUTTING_DOWN" : "STOPPED";
    const code = reply.kind === "error" ? reply.error.code : null;
    const isVoid = code === "STOPPED" || code === voidCode;
    check(reply.kind === "ack" || isVoid, `the operator was answered by ${code ?? reply.kind}`);
    if (reply.kind === "ack" && reply.meta.serial === asked) this.#answer = reply.data ?? null;
  }
}
