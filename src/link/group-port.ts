/**
 * A robot's part in the queue groups of NATS: it is a member for each task of each of its groups
 * while it is free, and leaves them while it is not, so that NATS gives a request to one that is.
 */
import type { Msg, NatsConnection, Subscription } from "@nats-io/transport-node";
import { subjectOf } from "../protocol/fleet.ts";
import type { EngineView } from "./engine-view.ts";
import type { TaskPort } from "./tasks.ts";

export class GroupPort {
  /** Subscriptions by subject. */
  readonly #members = new Map<string, Subscription>();
  /** Jobs of the fleet when the engine was looked at: these are in what it said. */
  #jobsAtLook = 0;
  #wasFree = false;

  constructor(
    private readonly nats: NatsConnection,
    private readonly groups: readonly string[],
    private readonly view: EngineView,
    private readonly port: TaskPort,
  ) {}

  /** The engine has just been looked at. */
  looked(): void {
    this.#jobsAtLook = this.port.jobs;
    this.#update(this.#isFree());
  }

  /** A job has begun or ended: joins or leaves, as the robot is. */
  update(): void {
    if (this.groups.length === 0) return;
    const isFree = this.#isFree();
    if (isFree !== this.#wasFree) this.#update(isFree);
  }

  #update(isFree: boolean): void {
    if (this.groups.length === 0 || this.nats.isClosed()) return;
    this.#wasFree = isFree;
    const wanted = isFree ? this.#subjects() : new Map<string, string>();
    for (const [subject, member] of this.#members) {
      if (wanted.has(subject)) continue;
      this.#members.delete(subject);
      leave(member);
    }
    for (const [subject, task] of wanted) {
      if (this.#members.has(subject)) continue;
      const callback = (error: Error | null, message: Msg): void => {
        if (error === null) this.port.take(task, message);
      };
      this.#members.set(subject, this.nats.subscribe(subject, { queue: "task-engine", callback }));
    }
  }

  leaveAll(): void {
    for (const member of this.#members.values()) leave(member);
    this.#members.clear();
  }

  /** It could begin one more job now. */
  #isFree(): boolean {
    const { isConnected, isDraining, stopped, jobs, workers } = this.view.seen;
    if (!isConnected || isDraining || stopped !== null) return false;
    const others = Math.max(0, jobs.waiting + jobs.held - this.#jobsAtLook);
    return others + this.port.jobs < workers;
  }

  /** The tasks that a worker serves now, by their subjects. */
  #subjects(): Map<string, string> {
    const served = [...this.view.tasks.values()].filter(({ workers }) => workers > 0);
    return new Map(
      this.groups.flatMap((group) => served.map(({ name }) => [`${subjectOf({ group })}.tasks.${name}`, name])),
    );
  }
}

/** Takes what NATS has sent already: its requestor would wait in vain. */
const leave = (member: Subscription): void => {
  if (!member.isClosed() && !member.isDraining()) void member.drain().catch(() => member.unsubscribe());
};
