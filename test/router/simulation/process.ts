/** A simulated worker process: runs jobs one at a time in the order they came, and may die, hang or lose its connection. */
import { beatIntervalMs, messageJobsMax, taskSliceMs } from "../../../src/limits.ts";
import type { BackendMessage, ReadyHeader, RouterHeader } from "../../../src/wire/backend.ts";
import { encodeError, taskName } from "../../../src/wire/frames.ts";
import { check, Violation } from "./ledger.ts";
import { Link } from "./link.ts";
import { type Behaviour, taskOf } from "./tasks.ts";
import type { World } from "./world.ts";

interface QueuedJob {
  readonly id: number;
  readonly uid: number;
  readonly name: string;
  /** ms on the simulated clock */
  readonly expiresAt: number;
  /** The connection by which it came. */
  readonly link: Link;
}

interface Run {
  readonly job: QueuedJob;
  readonly behaviour: Behaviour;
  readonly begunAt: number;
}

/** uid and task of a TASK frame. */
export const readTask = (body: Uint8Array): { uid: number; name: string } => {
  const { task, args } = JSON.parse(Buffer.from(body).toString()) as { task: string; args: number[] };
  return { uid: args[0] ?? 0, name: taskName(task) };
};

export class Process {
  isAlive = true;
  /** Stopped as by SIGSTOP. */
  isHung = false;
  isLeaving = false;
  /** The mark that the supervisor can read after its death: the job it has begun last. */
  begun = 0;
  link: Link;
  #running: Run | null = null;
  #queue: QueuedJob[] = [];
  #answers: { type: "DONE" | "FAIL"; jobs: number[]; ms: number[]; bodies: Uint8Array[] } | null = null;
  /** What has come while it could not hear, and since when that is so. */
  #unread: BackendMessage<RouterHeader>[] = [];
  #deafSince: number | null = null;
  readonly #topics = new Map<string, Uint8Array>();

  constructor(
    private readonly world: World,
    readonly ready: ReadyHeader,
  ) {
    this.link = this.#connect();
    this.#beat();
  }

  get isSupervised(): boolean {
    return this.ready.supervised === true;
  }

  get #user(): string | null {
    return this.world.rights.userOfWorker(this.isSupervised);
  }

  get isBusy(): boolean {
    return this.#running !== null;
  }

  die(): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#running = null;
    this.link.break(this.world.random.chance(0.8));
    this.world.died(this);
  }

  hang(ms: number): void {
    this.isHung = true;
    this.#deafSince ??= this.world.agenda.now;
    this.world.agenda.after(ms, () => {
      this.isHung = false;
      this.#hearAgain();
    });
  }

  /** It lives on, and finds its way back to the router under another routing id. */
  loseConnection(): void {
    if (!this.isAlive) return;
    this.link.break(this.world.random.chance(0.3));
    const { agenda, random } = this.world;
    this.#drop();
    agenda.after(random.between(1, 2000), () => {
      if (!this.isAlive || this.link.isOpen) return;
      if (this.isSupervised || this.#running === null) this.link = this.#connect();
      else this.die();
    });
  }

  /** As the protocol wants it: what the router has given up is dropped, and who has no supervisor says READY once free. */
  #drop(): void {
    this.#queue = [];
    if (this.#running?.behaviour.obeysAbort === true) this.#running = null;
  }

  leave(): void {
    if (!this.isAlive || this.isLeaving) return;
    this.isLeaving = true;
    const back = this.world.random.chance(0.7) ? this.#queue.splice(0, messageJobsMax) : [];
    if (back.length > 0) this.link.send({ type: "RETURN", jobs: back.map(({ id }) => id) });
    this.link.send({ type: "LEAVE" });
  }

  #connect(): Link {
    const link = new Link(this.world, this.world.nextKey(), this.#user, (message) => this.#hear(message));
    this.world.links.set(link.key, link);
    link.send(this.ready);
    return link;
  }

  #beat(): void {
    this.world.agenda.after(beatIntervalMs, () => {
      if (!this.isAlive) return;
      if (this.#deafSince === null) this.link.send({ type: "BEAT" });
      this.#beat();
    });
  }

  /* ── What it is told ───────────────────────────────────────────────────────────────────────────────────────────── */

  #hear(message: BackendMessage<RouterHeader>): void {
    if (!this.isAlive) return;
    if (this.#deafSince === null) this.#obey(message, this.world.agenda.now);
    else this.#unread.push(message);
    if (this.#deafSince === null) this.#runNext();
  }

  #hearAgain(): void {
    if (!this.isAlive || this.isHung || this.#running?.behaviour.blocks === true) return;
    // What it reads now may have come at any time since: limits count from then.
    const since = this.#deafSince ?? this.world.agenda.now;
    this.#deafSince = null;
    for (const message of this.#unread.splice(0)) this.#obey(message, since);
    this.#runNext();
  }

  #obey({ header, bodies }: BackendMessage<RouterHeader>, cameAt: number): void {
    switch (header.type) {
      case "WHO":
        this.link.send(this.ready);
        break;
      case "REFUSED":
        this.#drop();
        if (this.#running !== null) this.die();
        break;
      case "GOODBYE":
        for (const { uid, link } of [...this.#queue, ...(this.#running === null ? [] : [this.#running.job])])
          check(link !== this.link || !this.world.ledger.isOpen(uid), `GOODBYE to a worker that has part ${uid}`);
        this.die();
        break;
      case "ABORT":
        this.#abort(header.job, header.code);
        break;
      case "JOBS":
        for (const [index, id] of header.jobs.entries()) {
          const expiresAt = cameAt + (header.ttlMs?.[index] ?? Number.POSITIVE_INFINITY);
          this.#take({ id, ...readTask(bodies[index] ?? new Uint8Array(0)), expiresAt, link: this.link });
        }
        break;
      case "PUT":
      case "GET":
        for (const [index, id] of header.jobs.entries()) this.#keep(id, header.topics[index] ?? "", bodies[index]);
        this.#flush();
        break;
    }
  }

  #take(job: QueuedJob): void {
    if (!this.ready.tasks.some((task) => (typeof task === "string" ? task : task.name) === job.name))
      throw new Violation(`worker ${this.ready.id} was given ${job.name}, which it does not serve`);
    const mayServe = this.world.rights.mightJustNow(this.#user, { right: "worker", of: job.name });
    check(mayServe, `worker ${this.ready.id} was given ${job.name}, which it may not serve`);
    if (this.isLeaving && this.world.random.chance(0.7)) this.link.send({ type: "RETURN", jobs: [job.id] });
    else this.#queue.push(job);
  }

  #keep(id: number, topic: string, body: Uint8Array | undefined): void {
    this.begun = id;
    if (body !== undefined) {
      const { data } = JSON.parse(Buffer.from(body).toString()) as { data: { uid?: number } };
      if (data.uid !== undefined) this.world.ledger.begin(data.uid, this.isSupervised, false, this.world.agenda.now);
      this.#topics.set(topic, body);
      this.#answer("DONE", id, 0.01, Buffer.from(JSON.stringify({ data, pack: 0 })));
      return;
    }
    const value = this.#topics.get(topic);
    if (value === undefined) this.#answer("FAIL", id, 0, encodeError("UNKNOWN_TOPIC", "no value yet"));
    else this.#answer("DONE", id, 0.01, value);
  }

  #abort(id: number, code: string): void {
    const run = this.#running;
    if (run?.job.id === id) {
      if (run.behaviour.obeysAbort === true)
        this.world.agenda.after(this.world.random.between(0, 20), () => this.#finish(run, true));
      return;
    }
    const index = this.#queue.findIndex((job) => job.id === id);
    if (index < 0) return;
    this.#queue.splice(index, 1);
    this.#answer("FAIL", id, 0, Buffer.from(JSON.stringify({ data: { code, message: "dropped" }, pack: 0 })));
    this.#flush();
  }

  /* ── What it does ──────────────────────────────────────────────────────────────────────────────────────────────── */

  #runNext(): void {
    const { agenda, random, ledger } = this.world;
    while (this.isAlive && !this.isHung && this.#running === null) {
      const job = this.#queue.shift();
      if (job === undefined) break;
      if (agenda.now > job.expiresAt) {
        this.#answer("FAIL", job.id, 0, encodeError("EXPIRED", "too late"));
        continue;
      }
      // The mark comes first: what it says after a death is then never too little.
      this.begun = job.id;
      const boundMs = ledger.begin(job.uid, this.isSupervised, job.link.isOpen, agenda.now);
      const run: Run = { job, behaviour: taskOf(job.name).run(random), begunAt: agenda.now };
      this.#running = run;
      this.#carryOut(run);
      if (boundMs === Number.POSITIVE_INFINITY) continue;
      agenda.after(boundMs, () => {
        if (this.#running === run && job.link.isOpen && ledger.isOpen(job.uid))
          throw new Violation(`part ${job.uid} (${job.name}) runs beyond all limits`);
      });
    }
    this.#flush();
  }

  #carryOut(run: Run): void {
    const { agenda } = this.world;
    const { runMs, blocks, reports, kills } = run.behaviour;
    if (blocks === true) this.#deafSince ??= agenda.now;
    else if (this.#deafSince !== null) agenda.after(0, () => this.#hearAgain());
    if (reports === true) {
      this.link.send({ type: "PROGRESS", job: run.job.id }, [Buffer.from('{"data":0.5,"pack":0}')]);
      this.link.send({ type: "PUBLISH", topic: "said" }, [Buffer.from('{"data":{"said":true},"pack":0}')]);
    }
    if (runMs === Number.POSITIVE_INFINITY) return;
    agenda.after(runMs, () => {
      if (kills !== true) this.#finish(run, run.behaviour.throws === true);
      else if (this.#running === run) this.die();
    });
  }

  #finish(run: Run, isFailure: boolean): void {
    if (!this.isAlive || this.#running !== run) return;
    if (this.isHung) {
      this.world.agenda.after(10, () => this.#finish(run, isFailure));
      return;
    }
    const { id, uid } = run.job;
    this.#running = null;
    const ms = this.world.agenda.now - run.begunAt;
    if (isFailure) this.#answer("FAIL", id, ms, encodeError("TASK_ERROR", "it threw"));
    else this.#answer("DONE", id, ms, Buffer.from(JSON.stringify({ data: { uid }, pack: 0 })));
    // Short jobs run back to back, without a look at the socket between them; not for long, or an ABORT comes too late.
    const isInSlice = this.#deafSince !== null && this.world.agenda.now < this.#deafSince + taskSliceMs;
    if (isInSlice && run.behaviour.blocks === true && this.#queue.length > 0) this.#runNext();
    this.#hearAgain();
  }

  /* ── What it answers ───────────────────────────────────────────────────────────────────────────────────────────── */

  #answer(type: "DONE" | "FAIL", job: number, ms: number, body: Uint8Array): void {
    if (this.#answers?.type !== type || this.#answers.jobs.length >= messageJobsMax) this.#flush();
    this.#answers ??= { type, jobs: [], ms: [], bodies: [] };
    this.#answers.jobs.push(job);
    this.#answers.ms.push(ms);
    this.#answers.bodies.push(body);
    if (this.world.random.chance(0.5)) this.#flush();
  }

  #flush(): void {
    if (this.#answers === null) return;
    const { type, jobs, ms, bodies } = this.#answers;
    this.#answers = null;
    this.link.send({ type, jobs, ms }, bodies);
    const { random } = this.world;
    if (random.chance(this.world.weather.duplicates)) this.link.send({ type, jobs, ms }, bodies);
    if (random.chance(this.world.weather.garbage)) this.link.sendFrames(this.world.garbage(jobs));
  }
}
