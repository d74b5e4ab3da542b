/**
 * The link: a client of the engine and of NATS, which offers the robot to a fleet (LINK.md). What
 * it may ask of the engine for the fleet is the line `allow` of `[link]`; the engine checks it.
 * Resources, dead man, emergency stop and limits stay the engine's.
 */
import type { Msg, MsgHdrsImpl, NatsConnection } from "@nats-io/transport-node";
import type { Client, StopResult } from "../client/client.ts";
import { linkCommandsMax, linkNamesakeMs, stopReasonLengthMax } from "../limits.ts";
import { ProtocolError, TaskEngineError } from "../protocol/errors.ts";
import { type MirrorRule, type RobotReport, robotsSubject, subjectOf } from "../protocol/fleet.ts";
import type { OnBehalf } from "../protocol/frames.ts";
import { decodeObject } from "../protocol/schema.ts";
import { Access } from "../security/access.ts";
import { EngineView, fleetUser } from "./engine-view.ts";
import { GroupPort } from "./group-port.ts";
import { JobQueue } from "./job-queue.ts";
import { Mirror } from "./mirror.ts";
import { failureOf, Replies } from "./replies.ts";
import { Roster } from "./roster.ts";
import { Service, ServiceCounts } from "./service.ts";
import { TakenFile } from "./taken-file.ts";
import { TaskPort } from "./tasks.ts";

interface LinkOptions {
  /** Closed by its owner, after the link; as the client. */
  readonly nats: NatsConnection;
  readonly Headers: typeof MsgHdrsImpl;
  readonly client: Client;
  readonly robot: string;
  readonly groups: readonly string[];
  /** Rights of the fleet, as in the file of authorized clients. */
  readonly allow: readonly string[];
  /** Topics that the fleet gets. */
  readonly rules: readonly MirrorRule[];
  readonly version: string;
  /** Past a router that hangs; null for an engine on another machine. */
  readonly stopBySocket: ((reason: string) => Promise<StopResult>) | null;
  /** Where it writes down the jobs that it has taken from the fleet; null for nowhere. */
  readonly takenPath: string | null;
  /** Writes a line to the log. */
  readonly warn: (line: string) => void;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #replies: Replies;
  readonly #view: EngineView;
  readonly #port: TaskPort;
  readonly #groups: GroupPort;
  readonly #queue: JobQueue;
  readonly #roster: Roster;
  readonly #mirror: Mirror;
  readonly #onBehalf: OnBehalf | null;
  #commands = 0;
  /**
   * Requests of tasks when the engine was last looked at, and whether there have been some since
   * the last collection.
   */
  #seenTaken = 0;
  #hasGarbage = false;

  /** Throws TaskEngineError, BAD_ARGS, for rights that are none. */
  constructor(options: LinkOptions) {
    this.#options = options;
    const { nats, client, robot, groups, allow, version, warn } = options;
    const access = fleetAccess(allow);
    this.#onBehalf = allow.length === 0 ? null : { name: fleetUser, rights: allow };
    this.#replies = new Replies(nats, options.Headers, robot);
    this.#view = new EngineView(client, access, () => this.#looked(), warn);
    const counts = new ServiceCounts();
    const shared = { client, view: this.#view, access, replies: this.#replies, counts };
    this.#port = new TaskPort({ ...shared, onBehalf: this.#onBehalf, onChange: () => this.#groups.update() });
    this.#groups = new GroupPort(nats, groups, this.#view, this.#port);
    const taken = new TakenFile(options.takenPath);
    const onBehalf = this.#onBehalf;
    this.#queue = new JobQueue({ nats, client, view: this.#view, robot, groups, onBehalf, taken, warn });
    this.#roster = new Roster(nats, warn);
    this.#mirror = new Mirror(options);
    new Service({ nats, robot, groups, version, view: this.#view, replies: this.#replies, counts });
  }

  /** Looks at the engine, then listens. */
  async start(): Promise<void> {
    const { robot, groups } = this.#options;
    const own = subjectOf({ robot });
    // A stop needs no look at the engine.
    for (const target of [own, subjectOf({ all: true }), ...groups.map((group) => subjectOf({ group }))]) {
      this.#listen(`${target}.estop`, (message) => void this.#stop(message));
    }
    await this.#lookForNamesake(own);
    await this.#view.start();
    const tasks = `${own}.tasks.`;
    this.#listen(`${tasks}>`, (message) => this.#port.take(message.subject.slice(tasks.length), message));
    for (const target of [own, ...groups.map((group) => subjectOf({ group }))]) {
      this.#listen(`${target}.cancel`, (message) => this.#cancel(message));
    }
    this.#listen(`${own}.alive`, (message) => this.#port.hearAlive(message));
    this.#listen(`${own}.control`, (message) => void this.#command(message));
    this.#listen(robotsSubject, ({ reply = "" }) => this.#replies.json(reply, this.#report()));
    this.#mirror.start();
  }

  /** Two robots of one name would both answer, and both would run what was meant for one. */
  async #lookForNamesake(own: string): Promise<void> {
    const { nats, robot, warn } = this.#options;
    const isThere = await nats.request(`${own}.cancel`, "{}", { timeout: linkNamesakeMs }).then(
      () => true,
      // Nobody listens there, or NATS is lost again.
      () => false,
    );
    if (isThere)
      warn(`another robot has the name ${robot}, and tasks would run on both; give one of them another name`);
  }

  /** Takes nothing new. The jobs that still run are answered once the client is closed. */
  close(): void {
    this.#view.close();
    this.#mirror.close();
    this.#groups.leaveAll();
    this.#queue.close();
  }

  /** The connection to NATS was lost and is there again. */
  reconnected(): void {
    this.#queue.reconnected();
  }

  /** Resolves once all jobs have been answered. */
  async settled(): Promise<void> {
    await Promise.all([this.#port.settled(), this.#queue.settled()]);
  }

  /** A request of this robot, or a job that it has taken from the fleet. */
  #cancel(message: Msg): void {
    const body = decodeObject(message.data, "request");
    const job = body instanceof ProtocolError ? undefined : body.job;
    if (typeof job !== "string") return this.#port.cancel(message);
    this.#replies.json(message.reply ?? "", { cancelled: this.#queue.cancel(job) });
  }

  #listen(subject: string, take: (message: Msg) => void): void {
    this.#options.nats.subscribe(subject, {
      callback: (error, message) => {
        if (error === null) take(message);
        else this.#options.warn(`NATS does not let the link listen at ${subject}: ${error.message}`);
      },
    });
  }

  #looked(): void {
    this.#groups.looked();
    this.#collectGarbage();
    this.#queue.looked();
    void this.#roster.tell(this.#report());
  }

  /**
   * After work: JavaScriptCore keeps three times what is in use until it has a reason to look
   * again.
   */
  #collectGarbage(): void {
    const { taken } = this.#port;
    if (taken !== this.#seenTaken) this.#hasGarbage = true;
    else if (this.#hasGarbage) {
      this.#hasGarbage = false;
      Bun.gc(true);
    }
    this.#seenTaken = taken;
  }

  #report(): RobotReport {
    const { robot, groups, version } = this.#options;
    const { isConnected, stopped, jobs } = this.#view.seen;
    const tasks = [...this.#view.tasks.keys()];
    const engine = isConnected ? "connected" : "lost";
    const detachable = [...this.#queue.tasks];
    return { robot, groups: [...groups], version, engine, tasks, detachable, stopped, jobs, at: Date.now() / 1000 };
  }

  /** In the link's own name: every fleet may stop its robots. */
  async #stop({ data, reply = "" }: Msg): Promise<void> {
    const { client, robot, stopBySocket } = this.#options;
    const body = data.length === 0 ? {} : decodeObject(data, "request");
    // A stop does not fail for its reason.
    const given = body instanceof ProtocolError ? undefined : body.reason;
    const reason = (typeof given === "string" && given !== "" ? given : "by the fleet").slice(0, stopReasonLengthMax);
    try {
      const ways = [client.estop(reason), ...(stopBySocket === null ? [] : [stopBySocket(reason)])];
      this.#replies.json(reply, { robot, ...(await bestOf(ways)) });
    } catch (error) {
      this.#replies.failure(reply, failureOf(error));
    }
    await this.#view.look();
  }

  /** A command of CONTROL, for the fleet. */
  async #command({ data, reply = "" }: Msg): Promise<void> {
    const { client } = this.#options;
    this.#commands++;
    try {
      if (this.#commands > linkCommandsMax) throw new TaskEngineError("QUEUE_FULL", "too many commands wait already");
      const command = decodeObject(data, "request");
      if (command instanceof ProtocolError) throw command;
      if (this.#onBehalf === null) {
        throw new TaskEngineError(
          "UNAUTHORIZED",
          "the robot allows the fleet nothing but stops: `allow` of its [link]",
        );
      }
      const { waitMs } = command;
      const wait = typeof waitMs === "number" ? { waitMs: waitMs + commandGraceMs } : {};
      this.#replies.result(reply, await client.command(command, { ...wait, onBehalf: this.#onBehalf }));
    } catch (error) {
      this.#replies.failure(reply, failureOf(error));
    } finally {
      this.#commands--;
    }
  }
}

/** ms by which a command may take longer than it waits by itself. */
const commandGraceMs = 5_000;

/** Throws TaskEngineError, BAD_ARGS. */
export const fleetAccess = (allow: readonly string[]): Access => {
  const access = Access.ofPerson(fleetUser, allow);
  if (typeof access !== "string") return access;
  throw new TaskEngineError("BAD_ARGS", `allow ${access}`);
};

/** The first durable stop; one that is not if there is no other. Rejects as the engine did. */
const bestOf = async (ways: readonly Promise<StopResult>[]): Promise<StopResult> => {
  const durable = ways.map(async (way) => {
    const stop = await way;
    return stop.durable ? stop : Promise.reject(new Error("not durable"));
  });
  const found = await Promise.any(durable).catch(() => null);
  if (found !== null) return found;
  const [first] = ways;
  return Promise.any(ways).catch(() => first ?? Promise.reject(new TaskEngineError("NO_ANSWER", "no way to stop")));
};
