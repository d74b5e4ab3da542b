/**
 * Requestors of durable jobs. What was acknowledged is in the journal, whatever dies when, ends once, and begins no more often than
 * its task allows in all lives of the engine together.
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
import { simulatedTasks } from "./tasks.ts";
import type { World } from "./world.ts";

const name = "durable-1";
const tasks = Object.entries(simulatedTasks).flatMap(([task, { policy }]) => (policy.durable === true ? [task] : []));

/** Codes of requests that have become no job. */
const refusals: ReadonlySet<string> = new Set([
  ...["STORE_FULL", "UNAUTHORIZED", "SHUTTING_DOWN", "STOPPED", "UNAVAILABLE", "UNKNOWN_TASK", "QUEUE_FULL"],
]);

export class Durable {
  #nextSerial = 1;
  /** Requests that are not answered (yet); their router may have died. */
  readonly #asked = new Map<string, { readonly part: Part; readonly isForbidden: boolean }>();
  readonly #accepted = new Map<string, Part>();
  readonly #refused: Part[] = [];
  readonly #parts = new Map<number, Part>();
  #last: Reply | null = null;

  /** For whom it asks, in some worlds. */
  readonly #person: OnBehalf | undefined;

  constructor(private readonly world: World) {
    this.#person = world.random.chance(0.3) ? world.random.pick(persons) : undefined;
  }

  static isOne(requestor: string): boolean {
    return requestor === name;
  }

  /** All that was acknowledged has ended, and the file knows it. */
  get areOver(): boolean {
    return [...this.#accepted.keys()].every((id) => this.world.journal.ends.has(id));
  }

  send(): void {
    const { agenda, ledger, random, requestors, rights, router } = this.world;
    if (router.isDown) return;
    const task = random.chance(0.95) ? random.pick(tasks) : "drive";
    const options: TaskOptions = {
      durable: true,
      ...(random.chance(0.3) && { delayMs: random.between(1, 3000) }),
      ...(random.chance(0.15) && { ttlMs: random.between(1, 2000) }),
      ...(random.chance(0.15) && { latest: "newest" }),
      ...(random.chance(0.2) && { unique: { key: `key ${random.whole(1, 5)}`, windowMs: random.whole(0, 500) } }),
    };
    const part = requestors.part(task, options);
    const serial = `durable-${this.#nextSerial++}`;
    const isForbidden = !rights.may(rights.userOf(name), { right: "send", of: task }, this.#person);
    ledger.adopt(part, name, serial, agenda.now + (options.delayMs ?? 0), isForbidden);
    this.#parts.set(part.uid, part);
    this.#asked.set(serial, { part, isForbidden });
    const frames = encodeTaskRequest(this.#origin(serial), task, [part.uid], {}, options, 0.3);
    router.fromRequestor(name, frames);
    if (options.unique !== undefined && random.chance(0.5)) router.fromRequestor(name, frames);
    if (random.chance(0.1)) agenda.after(random.between(0, 500), () => this.#cancelSome());
  }

  hear(reply: Reply): void {
    const { serial = "" } = reply.meta;
    this.#last = reply;
    const asked = this.#asked.get(serial);
    if (asked === undefined) return;
    const { part, isForbidden } = asked;
    const task = simulatedTasks[part.name];
    if (reply.kind === "accepted") {
      check(task?.policy.durable === true && !isForbidden, `${serial}: ${part.name} was accepted, which must not be`);
      this.#accepted.set(reply.job.job, part);
    } else if (reply.kind === "error") {
      const { code } = reply.error;
      // Another job of its key has other arguments.
      const isAnother = code === "BAD_ARGS" && part.options.unique !== undefined;
      const isRefusal = refusals.has(code) || isAnother || task?.policy.durable !== true;
      check(isRefusal, `${serial}: refused by ${code}`);
      check(code !== "STORE_FULL" || this.world.journal.troubles > 0, `${serial}: STORE_FULL without a cause`);
      // The second request of a key may be refused where the first one was not.
      if (part.options.unique === undefined) this.#refused.push(part);
    } else check(false, `${serial}: answered by ${reply.kind}`);
  }

  /** A worker begins a part. */
  begin(uid: number, isConnected: boolean): void {
    const part = this.#parts.get(uid);
    if (part === undefined || !isConnected) return;
    const user = this.world.rights.userOf(name);
    const mayStill = this.world.rights.mightJustNow(user, { right: "send", of: part.name }, this.#person);
    check(mayStill, `durable part ${uid} begins, and its requestor may not send it any more`);
  }

  /** Nothing acknowledged is lost, nothing refused has begun. @param isOver all must have ended */
  compare(isOver: boolean): void {
    for (const { uid, begins } of this.#refused) check(begins === 0, `durable part ${uid} was refused, and has begun`);
    const rows = new Map(this.world.journal.rows().map((row) => [row.job, row]));
    for (const [id, part] of this.#accepted) {
      const row = rows.get(id);
      if (row === undefined) throw new Violation(`durable job ${id} was acknowledged, and is lost`);
      const end = this.world.journal.ends.get(id);
      const said = row.ended === null ? undefined : `${row.state} ${row.code}`;
      check(said === end, `durable job ${id} is ${said} in the file, and has ended as ${end}`);
      check(!isOver || end !== undefined, `durable job ${id} is ${row.state} in the end`);
      check(row.state !== "done" || part.begins > 0, `durable job ${id} is done, and has never begun`);
      const isUnbegun = row.code === "EXPIRED" && row.tries === 0 && row.claims === 0;
      check(!isUnbegun || part.begins === 0, `durable job ${id} has expired, and has begun`);
      if (isOver) this.#compareSaid(id, row.state);
    }
  }

  /** The router says what the file says. */
  #compareSaid(id: string, state: string): void {
    this.#last = null;
    const frames = encodeControlRequest(this.#origin("job"), { command: "job", job: id });
    this.world.router.fromRequestor(name, frames);
    const reply: Reply | null = this.#last;
    const said = reply as Reply | null;
    if (said?.kind === "error" && said.error.code === "UNAUTHORIZED") return;
    const told = said?.kind === "ack" ? (said.data as { state: string }).state : said?.kind;
    check(told === state, `durable job ${id} is ${state} in the file, and the router says ${told}`);
  }

  #origin(serial: string): RequestOrigin {
    return forPerson({ id: name, serial }, this.#person);
  }

  #cancelSome(): void {
    const { random, router } = this.world;
    const ids = [...this.#accepted.keys()];
    if (router.isDown || ids.length === 0) return;
    const job = random.pick(ids);
    router.fromRequestor(name, encodeControlRequest(this.#origin("cancel"), { command: "cancel", job }));
  }
}
