/**
 * A whole engine around the real broker: clock, network, workers, their supervisor and those who ask, all simulated and all
 * from one seed. It throws a Violation as soon as anything is seen that must not be.
 */

import type { ReadyHeader } from "../../../src/protocol/backend.ts";
import { JobDeaths } from "../../../src/supervisor/deaths.ts";
import { Absent } from "./absent.ts";
import { Agenda } from "./agenda.ts";
import { Durable } from "./durable.ts";
import { Emergencies, offMsMax } from "./emergencies.ts";
import { Hardware } from "./hardware.ts";
import { SimulatedJournal } from "./journal.ts";
import { check, Ledger } from "./ledger.ts";
import { Life } from "./life.ts";
import type { Link } from "./link.ts";
import { longPauseMs, Pauses } from "./pauses.ts";
import { Process } from "./process.ts";
import { Random } from "./random.ts";
import { Requestors } from "./requestors.ts";
import { Rights } from "./rights.ts";
import { SimulatedRouter } from "./router.ts";
import { simulatedTasks, taskNames } from "./tasks.ts";
import { Timetable } from "./timetable.ts";

/** How rough it is: shares of messages, and of faults a second. */
interface Weather {
  readonly duplicates: number;
  readonly garbage: number;
  readonly deaths: number;
  readonly cuts: number;
  readonly hangs: number;
  readonly leaves: number;
  readonly stops: number;
  readonly reloads: number;
  readonly pauses: number;
  readonly routerDeaths: number;
  readonly powerCuts: number;
  /** Of the journal: its process, its connection, its disk. */
  readonly journalDeaths: number;
  readonly journalCuts: number;
  readonly fullDisks: number;
  readonly requestorLosses: number;
  /** Shares of the runs of `onStop`. */
  readonly onStopFailures: number;
  readonly onStopDeaths: number;
}

/** What a simulation has come to. */
export interface Tally {
  readonly events: number;
  readonly answered: number;
}

const fair: Weather = {
  ...{ duplicates: 0, garbage: 0, deaths: 0, cuts: 0, hangs: 0, leaves: 0 },
  ...{ stops: 0, reloads: 0, routerDeaths: 0, requestorLosses: 0, onStopFailures: 0, onStopDeaths: 0 },
  ...{ pauses: 0, powerCuts: 0, journalDeaths: 0, journalCuts: 0, fullDisks: 0 },
};

/** ms: the longest that all that was asked for may take once nothing goes wrong any more. */
const calmMs = 600_000;

/** ms after which a person kills a worker program that does not let go. */
export const stuckMs = 10_000;

/** ms after which an operator resets once more, for what could not be made safe before the weather turned. */
const resetMs = 30_000;

export class World implements Disposable {
  readonly random: Random;
  readonly policies = taskNames.map((name) => ({ name, ...simulatedTasks[name]?.policy }));
  readonly agenda = new Agenda();
  readonly hardware = new Hardware();
  readonly life = new Life();
  /** Its data worker has subscribers of the engine's own topics. */
  readonly isWatched: boolean;
  readonly emergencies = new Emergencies(this);
  readonly ledger = new Ledger(() => this.emergencies);
  readonly links = new Map<string, Link>();
  readonly router: SimulatedRouter;
  readonly requestors: Requestors;
  readonly absent: Absent;
  readonly journal = new SimulatedJournal(this);
  readonly durable: Durable;
  readonly rights: Rights;
  readonly pauses = new Pauses(this);
  readonly timetable: Timetable;
  /** ms since 1970, when the world began: a minute begins soon. */
  readonly #wallBeganMs: number;
  /** The task that is asked for most in this world. */
  readonly favourite: string;
  weather: Weather;
  #processes: Process[] = [];
  /** All that have ever been. */
  readonly #supervised = new Map<number, Process>();
  readonly #jobDeaths = new JobDeaths();
  #nextPid = 100;
  #nextKey = 1;
  isEnding = false;

  constructor(seed: number) {
    this.random = new Random(seed);
    this.isWatched = seed % 2 === 0;
    const { random } = this;
    this.favourite = random.pick(taskNames);
    const rough = (most: number): number => (random.chance(0.5) ? random.between(0, most) : 0);
    this.weather = {
      duplicates: rough(0.2),
      garbage: rough(0.1),
      deaths: rough(1),
      cuts: rough(0.5),
      hangs: rough(0.3),
      leaves: rough(0.3),
      stops: random.chance(0.3) ? random.between(0, 0.7) : 0,
      reloads: rough(0.2),
      pauses: rough(0.5),
      routerDeaths: random.chance(0.2) ? random.between(0, 0.3) : 0,
      powerCuts: random.chance(0.3) ? random.between(0, 0.4) : 0,
      journalDeaths: rough(0.5),
      journalCuts: rough(0.5),
      fullDisks: rough(0.5),
      requestorLosses: rough(0.5),
      onStopFailures: rough(0.5),
      onStopDeaths: rough(0.3),
    };
    this.#wallBeganMs = 1_000_020_000 - random.between(0, 12_000);
    this.absent = new Absent(this);
    this.durable = new Durable(this);
    this.rights = new Rights(this);
    this.router = new SimulatedRouter(this);
    this.requestors = new Requestors(this);
    this.timetable = new Timetable(this);
    this.timetable.begin();
  }

  run(): Tally {
    const { random, agenda, policies } = this;
    this.rights.change();
    this.tellTasks(random.chance(0.3));
    for (let count = random.whole(1, 3); count > 0; count--) this.#startTaskWorker(true, policies);
    for (let count = random.whole(0, 2); count > 0; count--) this.#startTaskWorker(false, this.#someTasks());
    if (random.chance(0.8)) this.#startDataWorker();
    if (random.chance(0.3)) this.#startSourceWorker();
    const hasJournal = random.chance(0.5);
    if (hasJournal) agenda.after(random.between(0, random.chance(0.9) ? 500 : 15_000), () => this.journal.start());
    const activeMs = random.between(500, 10_000);
    this.requestors.askFor(random.whole(5, 80), activeMs);
    for (let count = random.whole(0, 15); count > 0; count--) {
      agenda.at(random.between(0, activeMs), () => this.absent.send());
    }
    for (let count = hasJournal ? random.whole(0, 40) : 0; count > 0; count--) {
      agenda.at(random.between(0, activeMs), () => this.durable.send());
    }
    if (random.chance(0.001)) agenda.after(random.between(0, activeMs), () => this.requestors.flood());
    for (let at = 1000; at < activeMs; at += 1000) if (random.chance(0.3)) agenda.at(at, () => this.rights.change());
    for (let at = 100; at < activeMs; at += 100) agenda.at(at, () => this.#misfortune(0.1));
    agenda.runUntil(activeMs);
    if (random.chance(0.5)) this.#calmDown();
    this.#stop();
    return { events: this.router.events, answered: this.ledger.answered };
  }

  [Symbol.dispose](): void {
    this.journal[Symbol.dispose]();
  }

  /** ms since 1970 */
  get wallMs(): number {
    return this.#wallBeganMs + this.agenda.now;
  }

  get processes(): readonly Process[] {
    return this.#processes.filter(({ isAlive }) => isAlive);
  }

  nextPid(): number {
    return this.#nextPid++;
  }

  nextKey(): string {
    return `key-${this.#nextKey++}`;
  }

  /** What nobody should send; `jobs`: some that it has just answered. */
  garbage(jobs: readonly number[]): Uint8Array[] {
    const { random } = this;
    const far = (jobs[0] ?? 0) + 1_000_000;
    const header = random.pick<unknown>([
      { type: "DONE", jobs: [far], ms: [1] },
      { type: "FAIL", jobs: [far], ms: [-1] },
      { type: "RETURN", jobs: [far, far + 1] },
      { type: "PROGRESS", job: far },
      { type: "DONE", jobs: [] },
      { type: "PROGRESS" },
      { type: "SOURCES" },
      { type: "SOURCES", sources: [{ name: "nobody's", hz: 1, jitterMs: 1, overruns: 0, errors: 0 }] },
      { type: "NONSENSE" },
      17,
    ]);
    const frame = random.chance(0.8) ? Buffer.from(JSON.stringify(header)) : Buffer.from([random.whole(0, 255), 0xff]);
    return random.chance(0.5) ? [frame, Buffer.from("{")] : [frame];
  }

  /** The supervisor is told to. */
  kill(pid: number): void {
    check(this.#supervised.has(pid), `process ${pid} is to be killed, which is not the supervisor's`);
    this.agenda.after(this.random.between(0, 30), () => this.#supervised.get(pid)?.die());
  }

  /** A process has: the supervisor hears of it, and starts another. @param culprit the task whose job has caused it */
  died(process: Process, culprit: string | null): void {
    const { agenda, random } = this;
    if (process.isSupervised) {
      const { pid } = process.ready;
      agenda.after(random.between(0, 60), () => {
        if (culprit !== null && this.#jobDeaths.count(culprit, "died", agenda.now, this.wallMs / 1000)) {
          this.ledger.closed.add(culprit);
          this.tellClosed();
        }
        this.router.handle({ type: "gone", pid, begun: process.begun });
      });
    }
    if (this.isEnding) return;
    agenda.after(random.between(50, 1000), () => {
      if (!this.isEnding) this.#start({ ...process.ready });
    });
  }

  /** The task files are read anew: nothing is closed any more. */
  #reload(): void {
    this.#jobDeaths.clear();
    this.tellClosed();
    this.tellTasks();
  }

  /** @param isUnsafe each needs a safe stop first */
  tellTasks(isUnsafe = false): void {
    const { policies: tasks, timetable } = this;
    this.router.handle({ type: "tasks", tasks, schedules: timetable.definitions, isUnsafe });
  }

  /** Somebody resumes a task, which ends its quarantine. */
  release(task: string): void {
    this.#jobDeaths.clear(task);
    this.tellClosed();
  }

  tellClosed(): void {
    this.router.handle({ type: "quarantined", tasks: this.#jobDeaths.quarantined });
  }

  isClosed(task: string): boolean {
    return this.#jobDeaths.quarantined.some((it) => it.task === task);
  }

  #start(ready: Omit<ReadyHeader, "pid" | "id">): void {
    const pid = this.#nextPid++;
    const process = new Process(this, { ...ready, pid, id: `${ready.role.toUpperCase()}-${pid}` });
    if (process.isSupervised) this.#supervised.set(pid, process);
    this.#processes = [...this.#processes.filter(({ isAlive }) => isAlive), process];
  }

  #startTaskWorker(supervised: boolean, tasks: ReadyHeader["tasks"]): void {
    // A worker of Python has no port of its own, so nobody need tell it of a stop.
    const kind = this.random.chance(0.3) ? ({ language: "python" } as const) : { stops: true };
    this.#start({ type: "READY", role: "task", tasks, endpoint: "", ...(supervised && { supervised, ...kind }) });
  }

  #startDataWorker(): void {
    this.#start({ type: "READY", role: "data", tasks: [], endpoint: "tcp://127.0.0.1:10002", supervised: true });
  }

  #startSourceWorker(): void {
    const sources = [
      { name: "gyro", topic: "gyro", everyMs: 10 },
      { name: "light", topic: "light", everyMs: 1000, staleMs: 3000 },
    ];
    this.#start({ type: "READY", role: "source", tasks: [], endpoint: "", sources, supervised: true });
  }

  #someTasks(): ReadyHeader["tasks"] {
    return this.policies.filter(() => this.random.chance(0.4));
  }

  /** @param seconds that have passed since it was last asked */
  #misfortune(seconds: number): void {
    const { random, weather } = this;
    const alive = this.processes;
    if (alive.length === 0) return;
    const strikes = (perSecond: number): boolean => random.chance(perSecond * seconds);
    if (strikes(weather.deaths)) random.pick(alive).die();
    if (strikes(weather.cuts)) random.pick(alive).loseConnection();
    if (strikes(weather.hangs)) random.pick(alive).hang(random.between(10, 9000));
    if (strikes(weather.leaves)) random.pick(alive).leave();
    if (strikes(weather.stops)) this.emergencies.stop();
    if (strikes(weather.routerDeaths)) this.emergencies.loseRouter();
    if (strikes(weather.powerCuts)) this.emergencies.cutPower();
    if (strikes(weather.journalDeaths)) this.journal.die();
    if (strikes(weather.journalCuts)) this.journal.loseConnection();
    if (strikes(weather.fullDisks)) this.journal.fill(random.between(1, 3000));
    if (strikes(weather.reloads)) this.#reload();
    if (strikes(weather.pauses)) this.pauses.pause();
    if (strikes(weather.requestorLosses)) this.emergencies.loseRequestor(`requestor-${random.whole(1, 4)}`);
  }

  /** Nothing goes wrong any more but by the tasks themselves: all that was asked for must be answered now. */
  #calmDown(): void {
    this.weather = fair;
    this.#awaitRouter();
    for (const ms of [3000, resetMs]) this.agenda.after(ms, () => this.emergencies.reset());
    this.agenda.after(3000, () => this.pauses.resumeAll());
    // What nobody can kill holds what it holds until somebody does.
    const killStuck = (): void => {
      for (const process of this.processes) if (process.isStuck) process.die();
      this.agenda.after(stuckMs, killStuck);
    };
    killStuck();
    const end = this.agenda.now + calmMs;
    this.agenda.runUntil(end, () => this.ledger.open.length === 0);
    check(this.ledger.open.length === 0, `not answered, with all workers sound: ${this.ledger.open}`);
    // Those of a lost requestor run on.
    this.agenda.runUntil(end, () => this.life.open === 0 && this.durable.areOver);
    if (this.random.chance(0.3)) this.pauses.pauseLong();
    const before = this.router.schedules();
    this.agenda.runUntil(this.agenda.now + 70_000);
    this.timetable.compareProgress(before, this.router.schedules());
    this.agenda.runUntil(this.agenda.now + longPauseMs - 71_000);
    this.router.compareJobs();
    this.agenda.runUntil(this.agenda.now + 60_000);
    this.agenda.runUntil(this.agenda.now + 60_000, () => this.life.open === 0 && this.durable.areOver);
    this.router.compareJobs();
    this.absent.compare(true);
    this.durable.compare(true);
    check(this.life.open === 0, `${this.life.open} jobs were accepted, and have not ended by their events`);
  }

  /** As the supervisor stops an engine: it drains, waits a while, and ends what is left. */
  #stop(): void {
    const { agenda, random, router, ledger } = this;
    this.#awaitRouter();
    ledger.stopping = true;
    router.handle({ type: "drain" });
    this.requestors.askFor(random.whole(0, 10), 3000);
    agenda.runUntil(agenda.now + random.between(3000, 8000));
    this.isEnding = true;
    for (const process of this.#processes) process.die();
    // The journal ends last, with the router.
    agenda.runUntil(agenda.now + 20_000);
    check(ledger.open.length === 0, `not answered at the end: ${ledger.open}`);
    this.absent.compare(true);
    this.durable.compare(false);
    check(router.drainedSaid === 1, `the supervisor was told ${router.drainedSaid} times that nothing runs`);
    const { jobs, queue, workers } = router.status();
    const others = workers.filter(({ id }) => !id.startsWith("JOURNAL"));
    const left = jobs.waiting + jobs.held + queue.jobs + queue.bytes + others.length;
    router.compareJobs();
    check(left === 0, `something is left at the end: ${JSON.stringify({ jobs, queue, others })}`);
    this.#fireAll();
  }

  #awaitRouter(): void {
    this.agenda.runUntil(this.agenda.now + 2 * offMsMax, () => !this.router.isDown);
  }

  #fireAll(): void {
    this.router.handle({ type: "tasks", tasks: this.policies });
    const { broker } = this.router;
    for (let count = 0; broker.nextAt !== null; count++) {
      check(count < 10_000, "a timer sets itself again for ever");
      check(broker.handle({ type: "tick" }, broker.nextAt).length === 0, "a timer does something after the end");
    }
  }
}
