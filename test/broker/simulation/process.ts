/** A simulated worker process: it may die, hang or lose its connection, and hears what the router says as soon as it can. */
import type { Broker } from "../../../src/broker/broker.ts";
import { beatIntervalMs, messageJobsMax } from "../../../src/limits.ts";
import type { BackendMessage, ReadyHeader, RouterHeader } from "../../../src/protocol/backend.ts";
import { routerTopics } from "../../../src/protocol/engine-topics.ts";
import { type Frame, textOf } from "../../../src/protocol/frame.ts";
import { encodeError } from "../../../src/protocol/frames.ts";
import { Answers } from "./answers.ts";
import { isSpared } from "./emergencies.ts";
import { Hands, type QueuedJob, readTask } from "./hands.ts";
import { check, Violation } from "./ledger.ts";
import { Link } from "./link.ts";
import { stuckMs, type World } from "./world.ts";

export class Process {
  isAlive = true;
  /** Stopped as by SIGSTOP. */
  isHung = false;
  isLeaving = false;
  /** The mark that the supervisor can read after its death: the job it has begun last. */
  begun = 0;
  link: Link;
  /** Since when it cannot hear what comes. */
  deafSince: number | null = null;
  /** The router that has welcomed it last, of a task worker. */
  joined: Broker | null = null;
  readonly answers: Answers;
  /** By the router's last word on it. */
  #isStopped = false;
  readonly #hands: Hands;
  #unread: BackendMessage<RouterHeader>[] = [];
  readonly #topics = new Map<string, Frame>();

  constructor(
    private readonly world: World,
    readonly ready: ReadyHeader,
  ) {
    this.answers = new Answers(world, () => this.link);
    this.#hands = new Hands(world, this);
    this.link = this.#connect();
    this.#beat();
  }

  get isSupervised(): boolean {
    return this.ready.supervised === true;
  }

  /** It runs what nobody can end but whoever has started it. */
  get isStuck(): boolean {
    return !this.isSupervised && this.#hands.busyMs > stuckMs;
  }

  /** Its rights were taken back, and it is beyond hearing that. */
  get isOutcast(): boolean {
    return this.#unread.some(({ header }) => header.type === "REFUSED");
  }

  get #user(): string | null {
    return this.world.rights.userOfWorker(this.isSupervised);
  }

  /** @param culprit the task whose job has caused it */
  die(culprit: string | null = null, flushes = this.world.random.chance(0.8)): void {
    if (!this.isAlive) return;
    this.isAlive = false;
    this.#hands.fall();
    this.link.break(flushes);
    this.world.died(this, culprit);
  }

  /** With the whole machine: nothing that it has sent arrives any more. */
  vanish(): void {
    this.die(null, false);
  }

  hang(ms: number): void {
    this.isHung = true;
    this.deafSince ??= this.world.agenda.now;
    this.world.agenda.after(ms, () => {
      this.isHung = false;
      this.hearAgain();
    });
  }

  /** It lives on, and finds its way back to the router under another routing id. */
  loseConnection(): void {
    if (!this.isAlive) return;
    this.link.break(this.world.random.chance(0.3));
    const { agenda, random } = this.world;
    // What it has not read it will read together with the news that the connection is lost.
    this.#unread = [];
    this.#hands.drop();
    agenda.after(random.between(1, 2000), () => {
      if (!this.isAlive || this.link.isOpen) return;
      if (this.isSupervised || !this.#hands.areBusy) this.link = this.#connect();
      else this.die();
    });
  }

  /** The router has died: it lets go of everything, or is killed by its supervisor. Nobody kills one that has none; it gives up itself. */
  halt(): void {
    if (!this.isAlive) return;
    this.#hands.drop();
    if (this.#hands.areBusy) this.die();
  }

  leave(): void {
    if (!this.isAlive || this.isLeaving) return;
    this.isLeaving = true;
    const back = this.world.random.chance(0.7) ? this.#hands.giveBack(messageJobsMax) : [];
    if (back.length > 0) this.link.send({ type: "RETURN", jobs: back });
    this.link.send({ type: "LEAVE" });
  }

  /** What has come since it last could hear. */
  hearAgain(): void {
    if (!this.isAlive || this.isHung || this.#hands.areBlocked) return;
    // What it reads now may have come at any time since: limits count from then.
    const since = this.deafSince ?? this.world.agenda.now;
    this.deafSince = null;
    for (const message of this.#unread.splice(0)) this.#obey(message, since);
    this.#hands.runNext();
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
      if (this.deafSince === null) this.link.send({ type: "BEAT" });
      if (this.deafSince === null && this.ready.sources !== undefined) this.#report(this.ready.sources);
      this.#beat();
    });
  }

  #report(sources: NonNullable<ReadyHeader["sources"]>): void {
    const { random } = this.world;
    for (const { name, topic } of sources) {
      this.link.send({ type: "PUBLISH", topic, task: name }, [JSON.stringify({ data: random.between(0, 1), pack: 1 })]);
    }
    const reports = sources.map(({ name }) => ({
      ...{ name, hz: random.chance(0.2) ? null : random.between(0, 100), jitterMs: random.between(0, 5) },
      ...{ overruns: random.whole(0, 9), errors: random.whole(0, 9) },
    }));
    this.link.send({ type: "SOURCES", sources: reports });
  }

  #hear(message: BackendMessage<RouterHeader>): void {
    if (!this.isAlive) return;
    if (message.header.type === "JOBS") this.#checkRights(message.bodies);
    if (this.deafSince === null) this.#obey(message, this.world.agenda.now);
    else this.#unread.push(message);
    if (this.deafSince === null) this.#hands.runNext();
  }

  #obey({ header, bodies }: BackendMessage<RouterHeader>, cameAt: number): void {
    switch (header.type) {
      case "WHO":
        this.link.send(this.ready);
        break;
      case "WELCOME":
        if (this.ready.role === "task") this.joined = this.world.router.broker;
        if (this.ready.role === "data" && this.world.isWatched) {
          this.link.send({ type: "WATCHED", topics: [...routerTopics] });
        }
        break;
      case "STOPPED":
        check(this.ready.stops === true, `worker ${this.ready.id} is sent STOPPED, which it does not know`);
        this.#isStopped = header.stopped !== null;
        break;
      case "REFUSED":
        this.#hands.drop();
        if (this.#hands.areBusy) this.die();
        break;
      case "GOODBYE":
        this.#hands.checkIdle();
        this.die();
        break;
      case "ABORT":
        this.#hands.abort(header.job, header.code);
        break;
      case "JOBS":
        for (const [index, id] of header.jobs.entries()) {
          const expiresAt = cameAt + (header.ttlMs?.[index] ?? Number.POSITIVE_INFINITY);
          this.#take({ id, ...readTask(bodies[index] ?? ""), expiresAt, link: this.link });
        }
        break;
      case "SAFE":
        this.#hands.takeSafe(header.job, header.task);
        break;
      case "PUT":
      case "GET":
        for (const [index, id] of header.jobs.entries()) this.#keep(id, header.topics[index] ?? "", bodies[index]);
        this.answers.flush();
        break;
    }
  }

  /** When they come, not when they are read. */
  #checkRights(bodies: readonly Frame[]): void {
    for (const { name } of bodies.map(readTask)) {
      const mayServe = this.world.rights.mightJustNow(this.#user, { right: "worker", of: name });
      check(mayServe, `worker ${this.ready.id} was given ${name}, which it may not serve`);
    }
  }

  #take(job: QueuedJob): void {
    if (!this.ready.tasks.some((task) => (typeof task === "string" ? task : task.name) === job.name))
      throw new Violation(`worker ${this.ready.id} was given ${job.name}, which it does not serve`);
    check(!this.#isStopped || isSpared(job.name), `worker ${this.ready.id} was given ${job.name} while it is stopped`);
    if (this.isLeaving && this.world.random.chance(0.7)) this.link.send({ type: "RETURN", jobs: [job.id] });
    else this.#hands.take(job);
  }

  #keep(id: number, topic: string, body: Frame | undefined): void {
    this.begun = id;
    if (body !== undefined) {
      const { data } = JSON.parse(textOf(body)) as { data: { uid?: number } };
      if (data.uid !== undefined) this.world.ledger.begin(data.uid, this.isSupervised, false, this.world.agenda.now);
      this.#topics.set(topic, body);
      this.answers.add("DONE", id, 0.01, JSON.stringify({ data, pack: 0 }));
      return;
    }
    const value = this.#topics.get(topic);
    if (value === undefined) this.answers.add("FAIL", id, 0, encodeError("UNKNOWN_TOPIC", "no value yet"));
    else this.answers.add("DONE", id, 0.01, value);
  }
}
