/**
 * Requestors that do not wait: they send detached, delayed and unique jobs, and are gone. What the router says of these jobs
 * in the end must be what has happened, once for each.
 */
import {
  encodeControlRequest,
  encodeTaskRequest,
  forPerson,
  type RequestOrigin,
} from "../../../src/protocol/encode-request.ts";
import type { OnBehalf } from "../../../src/protocol/frames.ts";
import type { TaskOptions } from "../../../src/protocol/policy.ts";
import type { Reply } from "../../../src/protocol/replies.ts";
import { check, type Part, Violation } from "./ledger.ts";
import { persons } from "./rights.ts";
import { simulatedTasks, taskNames } from "./tasks.ts";
import type { World } from "./world.ts";

const name = "absent-1";

/** A detached request of a durable task would be durable. */
const fleeting = taskNames.filter((task) => simulatedTasks[task]?.policy.durable !== true);

/** States of jobs that may still begin, or run. */
const openStates: ReadonlySet<unknown> = new Set(["delayed", "queued", "retrying", "dispatched", "running"]);

export class Absent {
  #nextSerial = 1;
  #last: Reply | null = null;
  /** The parts of accepted jobs of this router, by the jobs' ids. */
  readonly #accepted = new Map<string, Part>();

  /** For whom it asks, in some worlds. */
  readonly #person: OnBehalf | undefined;

  constructor(private readonly world: World) {
    this.#person = world.random.chance(0.3) ? world.random.pick(persons) : undefined;
  }

  static isOne(requestor: string): boolean {
    return requestor === name;
  }

  hear(reply: Reply): void {
    this.#last = reply;
  }

  /** The router has died, and its memory with it. */
  forget(): void {
    this.#accepted.clear();
  }

  send(): void {
    const { agenda, ledger, random, requestors, rights, router } = this.world;
    if (router.isDown) return;
    const task = random.chance(0.8) ? random.pick(["photo", "patrol"]) : random.pick(fleeting);
    const options: TaskOptions = {
      detach: true,
      ...(random.chance(0.4) && { delayMs: random.between(1, 3000) }),
      ...(random.chance(0.2) && { ttlMs: random.between(1, 800) }),
      ...(random.chance(0.2) && { latest: "left" }),
      ...(random.chance(0.2) && { unique: { key: `key ${random.whole(1, 3)}`, windowMs: random.whole(0, 500) } }),
    };
    const part = requestors.part(task, options);
    const serial = `absent-${this.#nextSerial++}`;
    const user = rights.userOf(name);
    const isForbidden = !rights.may(user, { right: "send", of: task }, this.#person);
    ledger.adopt(part, name, serial, agenda.now + (options.delayMs ?? 0), isForbidden);
    const frames = encodeTaskRequest(this.#origin(serial), task, [part.uid], {}, options, 0.3);
    const reply = this.#ask(frames);
    const policy = simulatedTasks[task]?.policy;
    const mayBegin = policy?.moves === false || policy?.resumesAfterRestart === true;
    if (reply.kind === "accepted") {
      check(mayBegin && !isForbidden, `${serial}: ${task} was accepted, which must not begin by itself`);
      check(!reply.job.existing, `${serial}: its arguments are those of no other`);
      this.#accepted.set(reply.job.job, part);
      const again = options.unique === undefined ? reply : this.#ask(frames);
      const isSame = again.kind === "accepted" && again.job.job === reply.job.job;
      check(isSame || again.kind === "error", `${serial}: a second job of a unique key`);
    } else check(reply.kind === "error", `${serial}: answered by ${reply.kind}`);
    if (reply.kind === "accepted" && random.chance(0.1)) {
      agenda.after(random.between(0, 500), () => this.#cancel(reply.job.job));
    }
  }

  /** Each job has ended once, or still waits if `isOver` is false. */
  compare(isOver: boolean): void {
    for (const [id, part] of this.#accepted) {
      const reply = this.#ask(encodeControlRequest(this.#origin("job"), { command: "job", job: id }));
      // It has lost its key, or another has its name.
      if (reply.kind === "error" && reply.error.code === "UNAUTHORIZED") continue;
      if (reply.kind !== "ack") throw new Violation(`job ${id}: ${reply.kind} for what must be known`);
      const { state, code } = reply.data as { state: string; code: string | null };
      if (!isOver && openStates.has(state)) continue;
      check(!openStates.has(state), `job ${id} is ${state} in the end`);
      check(state !== "done" || part.begins > 0, `job ${id} is done, and has never begun`);
      const isUnbegun = code === "EXPIRED" || code === "SUPERSEDED";
      check(!isUnbegun || part.begins === 0 || state === "superseded", `job ${id} is ${state}, and has begun`);
    }
  }

  #cancel(id: string): void {
    if (this.world.router.isDown) return;
    this.#ask(encodeControlRequest(this.#origin("cancel"), { command: "cancel", job: id }));
  }

  #origin(serial: string): RequestOrigin {
    return forPerson({ id: name, serial }, this.#person);
  }

  #ask(frames: readonly string[]): Reply {
    this.#last = null;
    this.world.router.fromRequestor(name, frames);
    const reply: Reply | null = this.#last;
    if (reply === null) throw new Violation("an absent requestor was not answered at once");
    return reply;
  }
}
