/** What a simulated worker works with: runs jobs one at a time in the order they came, and makes safe what was cut off. */
import { onStopMs, taskSliceMs } from "../../../src/limits.ts";
import type { Frame } from "../../../src/protocol/frame.ts";
import { encodeError, taskName } from "../../../src/protocol/frames.ts";
import type { Driver } from "./hardware.ts";
import { check, Violation } from "./ledger.ts";
import type { Link } from "./link.ts";
import type { Process } from "./process.ts";
import { type Behaviour, taskOf } from "./tasks.ts";
import type { World } from "./world.ts";

export interface QueuedJob {
  readonly id: number;
  readonly uid: number;
  readonly name: string;
  /** ms on the simulated clock */
  readonly expiresAt: number;
  /** The connection by which it came. */
  readonly link: Link;
}

interface Run extends Driver {
  readonly job: QueuedJob;
  readonly behaviour: Behaviour;
  readonly begunAt: number;
  isAborted: boolean;
  /** It has let go, and its task's `onStop` runs. */
  isSafing: boolean;
}

/** uid and task of a TASK frame. */
export const readTask = (body: Frame): { uid: number; name: string } => {
  const { task, args } = JSON.parse(Buffer.from(body).toString()) as { task: string; args: number[] };
  return { uid: args[0] ?? 0, name: taskName(task) };
};

export class Hands {
  #running: Run | null = null;
  #queue: QueuedJob[] = [];
  /** Tasks that it was told to make safe. */
  readonly #safes: { readonly id: number; readonly name: string }[] = [];

  constructor(
    private readonly world: World,
    private readonly process: Process,
  ) {}

  get areBusy(): boolean {
    return this.#running !== null;
  }

  get busyMs(): number {
    return this.#running === null ? 0 : this.world.agenda.now - this.#running.begunAt;
  }

  get areBlocked(): boolean {
    return this.#running?.behaviour.blocks === true && !this.#running.isSafing;
  }

  take(job: QueuedJob): void {
    this.#queue.push(job);
  }

  takeSafe(id: number, name: string): void {
    // The router does not know what it still has from a connection before.
    const isIdle = this.#running?.job.link !== this.process.link && this.#queue.length === 0;
    check(isIdle, `${this.process.ready.id} is to make ${name} safe, and is not idle`);
    this.#safes.push({ id, name });
  }

  /** Up to so many that have not begun. */
  giveBack(most: number): number[] {
    return this.#queue.splice(0, most).map(({ id }) => id);
  }

  checkIdle(): void {
    for (const { uid, link } of [...this.#queue, ...(this.#running === null ? [] : [this.#running.job])])
      check(link !== this.process.link || !this.world.ledger.isOpen(uid), `GOODBYE to a worker that has part ${uid}`);
  }

  /** The process is dead: what it drove goes on as it was. */
  fall(): void {
    if (this.#running !== null) {
      this.world.hardware.cutOff(this.#running);
      this.world.ledger.letGo(this.#running.job.uid);
    }
    this.#running = null;
  }

  /** As the protocol wants it: what the router has given up is dropped, and what obeys ends, made safe. */
  drop(): void {
    for (const uid of this.#running === null ? [] : [this.#running.job.uid]) this.world.ledger.letGo(uid);
    this.#queue = [];
    this.#safes.length = 0;
    const run = this.#running;
    // One that blocks its worker has not heard of it.
    if (run === null || this.areBlocked || run.behaviour.obeysAbort !== true || run.isSafing) return;
    this.world.hardware.end(run);
    this.#running = null;
  }

  abort(id: number, code: string): void {
    const run = this.#running;
    if (run?.job.id === id) {
      run.isAborted = true;
      if (run.behaviour.obeysAbort === true)
        this.world.agenda.after(this.world.random.between(0, 20), () => this.#finish(run, true));
      return;
    }
    const index = this.#queue.findIndex((job) => job.id === id);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    const dropped = Buffer.from(JSON.stringify({ data: { code, message: "dropped" }, pack: 0 }));
    this.process.answers.add("FAIL", id, 0, dropped);
    this.process.answers.flush();
  }

  runNext(): void {
    const { agenda, ledger } = this.world;
    const { process } = this;
    while (process.isAlive && !process.isHung && this.#running === null) {
      const safe = this.#safes.shift();
      if (safe !== undefined) {
        this.#makeSafe(safe.id, safe.name);
        break;
      }
      const job = this.#queue.shift();
      if (job === undefined) break;
      if (agenda.now > job.expiresAt) {
        process.answers.add("FAIL", job.id, 0, encodeError("EXPIRED", "too late"));
        continue;
      }
      // The mark comes first: what it says after a death is then never too little.
      process.begun = job.id;
      const boundMs = ledger.begin(job.uid, process.isSupervised, job.link.isOpen, agenda.now);
      this.world.durable.begin(job.uid, job.link.isOpen);
      const run = this.#begin(job);
      this.world.hardware.begin(run);
      this.#carryOut(run);
      if (boundMs === Number.POSITIVE_INFINITY) continue;
      agenda.after(boundMs, () => {
        if (this.#running === run && !run.isSafing && job.link.isOpen && ledger.isOpen(job.uid))
          throw new Violation(`part ${job.uid} (${job.name}) runs beyond all limits`);
      });
    }
    process.answers.flush();
  }

  #begin(job: QueuedJob): Run {
    const { policy, run } = taskOf(job.name);
    this.#running = {
      job,
      name: job.name,
      policy,
      isSupervised: this.process.isSupervised,
      behaviour: run(this.world.random),
      begunAt: this.world.agenda.now,
      isAborted: false,
      isSafing: false,
    };
    return this.#running;
  }

  #carryOut(run: Run): void {
    const { agenda } = this.world;
    const { process } = this;
    const { runMs, blocks, reports, kills } = run.behaviour;
    if (blocks === true) process.deafSince ??= agenda.now;
    else if (process.deafSince !== null) agenda.after(0, () => process.hearAgain());
    if (reports === true) {
      process.link.send({ type: "PROGRESS", job: run.job.id }, [Buffer.from('{"data":0.5,"pack":0}')]);
      process.link.send({ type: "PUBLISH", topic: "said" }, [Buffer.from('{"data":{"said":true},"pack":0}')]);
    }
    if (runMs === Number.POSITIVE_INFINITY) return;
    agenda.after(runMs, () => {
      if (kills !== true) this.#finish(run, run.behaviour.throws === true);
      else if (this.#running === run) process.die(run.name);
    });
  }

  #finish(run: Run, isFailure: boolean): void {
    if (!this.process.isAlive || this.#running !== run || run.isSafing) return;
    if (this.process.isHung) {
      this.world.agenda.after(10, () => this.#finish(run, isFailure));
      return;
    }
    if (run.policy.onStop === true && (isFailure || run.isAborted)) return this.#secure(run, isFailure);
    this.world.hardware.end(run);
    this.#end(run, isFailure, false);
  }

  /** Its task's `onStop` runs where it has run. */
  #secure(run: Run, isFailure: boolean): void {
    run.isSafing = true;
    this.world.ledger.letGo(run.job.uid);
    this.process.link.send({ type: "SAFING", job: run.job.id });
    // An onStop is waited for, so what has come in the meantime is read while it runs.
    this.process.hearAgain();
    if (this.#running !== run) return;
    this.#runOnStop(run, (isSafe) => {
      if (isSafe) this.world.hardware.end(run);
      else this.world.hardware.cutOff(run);
      this.#end(run, isFailure, !isSafe);
    });
  }

  /** What it was told to make safe. */
  #makeSafe(id: number, name: string): void {
    this.process.begun = id;
    this.world.hardware.makeSafe(taskOf(name).policy);
    const job = { id, uid: 0, name, expiresAt: Number.POSITIVE_INFINITY, link: this.process.link };
    const run: Run = {
      job,
      name,
      // It drives nothing: it makes safe what others have driven.
      policy: {},
      isSupervised: this.process.isSupervised,
      behaviour: { runMs: Number.POSITIVE_INFINITY },
      begunAt: this.world.agenda.now,
      isAborted: false,
      isSafing: true,
    };
    this.#running = run;
    this.#runOnStop(run, (isSafe) => {
      if (isSafe) this.world.hardware.isSafe(name);
      this.#end(run, !isSafe, false);
    });
  }

  /** Mostly in its time; but it may fail, go on for ever, or be the death of its process. */
  #runOnStop(run: Run, ended: (isSafe: boolean) => void): void {
    const { agenda, random, weather } = this.world;
    const limitMs = taskOf(run.name).policy.onStopMs ?? onStopMs;
    const after = (ms: number, happen: () => void): void =>
      agenda.after(ms, () => {
        if (this.process.isAlive && this.#running === run) happen();
      });
    if (random.chance(weather.onStopDeaths)) after(random.between(0, 50), () => this.process.die());
    else if (!random.chance(weather.onStopFailures)) after(random.between(0.1, 0.9 * limitMs), () => ended(true));
    else if (random.chance(0.7)) after(random.between(0.1, 0.9 * limitMs), () => ended(false));
  }

  #end(run: Run, isFailure: boolean, isUnsafe: boolean): void {
    const { process, world } = this;
    const { id, uid } = run.job;
    this.#running = null;
    world.ledger.letGo(uid);
    const ms = world.agenda.now - run.begunAt;
    if (isFailure) process.answers.add("FAIL", id, ms, encodeError("TASK_ERROR", "it threw"), isUnsafe);
    else process.answers.add("DONE", id, ms, JSON.stringify({ data: { uid }, pack: 0 }), isUnsafe);
    // Short jobs run back to back, without a look at the socket between them; not for long, or an ABORT comes too late.
    const isInSlice = process.deafSince !== null && world.agenda.now < process.deafSince + taskSliceMs;
    if (isInSlice && run.behaviour.blocks === true && this.#queue.length > 0) this.runNext();
    process.hearAgain();
  }
}
