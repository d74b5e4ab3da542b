/** What was asked, what has run and what was answered: it sees at once what must not be, and throws it. */

import { deadmanOf } from "../../../src/broker/job.ts";
import { abortGraceMs, killMs, taskSliceMs, verdictMs } from "../../../src/limits.ts";
import type { ErrorCode } from "../../../src/protocol/errors.ts";
import type { OnBehalf } from "../../../src/protocol/frames.ts";
import type { TaskOptions } from "../../../src/protocol/policy.ts";
import type { Reply, ReplyPart } from "../../../src/protocol/replies.ts";
import type { Emergencies } from "./emergencies.ts";
import type { Need } from "./rights.ts";
import { type SimulatedTask, triesOf } from "./tasks.ts";

/** ms that a message may take between router and worker. */
export const delayMsMax = 60;

/** ms after a right was taken back until the last worker has heard what it must not begin any more. */
export const echoMs = 2 * delayMsMax + taskSliceMs;

/** One thing that was asked for; `uid` travels in its arguments, and comes back in its result. */
export interface Part {
  readonly uid: number;
  /** null: not a task of any worker, or data */
  readonly task: SimulatedTask | null;
  /** The task's name; empty for data. */
  readonly name: string;
  readonly options: TaskOptions;
  /** It runs, in a worker that the engine can kill and speak to. */
  isInHand: boolean;
  begins: number;
  isCancelled: boolean;
  end: ErrorCode | "ACK" | null;
}

/** One message of a requestor. */
export interface Ask {
  readonly requestor: string;
  readonly serial: string;
  readonly version: 0.1 | 0.2 | 0.3;
  readonly kind: "task" | "put" | "get";
  readonly parts: readonly Part[];
  readonly user: string | null;
  /** For whom a gateway asks. */
  readonly person: OnBehalf | undefined;
  readonly need: Need;
  acceptedAt: number;
  /** It was not allowed when it came: nothing of it may ever begin. */
  isForbidden: boolean;
  /** It was allowed, and then was not any more; Infinity: that has not happened. */
  revokedAt: number;
  /** Since when nobody says any more that its requestor is there; Infinity: somebody does. */
  quietAt: number;
  /** Infinity: it is open. */
  answeredAt: number;
}

/** ms that whoever asked for it may be quiet; Infinity for ever. */
export const deadmanOfPart = ({ task, options }: Part): number => deadmanOf({ options, policy: task?.policy ?? {} });

/** Codes of jobs that have never begun and never will. */
const refusals: ReadonlySet<string> = new Set([
  "EXPIRED",
  "QUEUE_FULL",
  "UNKNOWN_TASK",
  "SHUTTING_DOWN",
  "UNAVAILABLE",
  "BAD_FRAME",
  "UNSUPPORTED_VERSION",
]);

export class Ledger {
  readonly #open = new Map<string, Ask[]>();
  readonly #parts = new Map<number, { readonly part: Part; readonly ask: Ask }>();
  /** Parts that nobody waits for. */
  readonly #adopted = new Set<number>();
  /** Those of schedules among them, which begin again and again. */
  readonly repeated = new Set<number>();
  readonly #cancels = new Map<string, number>();
  #arriving: Ask | null = null;
  #answered = 0;
  /** Workers that have died, lost their connection or stuck in a job: without those nothing is INTERRUPTED. */
  faults = 0;
  /** More was asked at once than may wait. */
  flooded = false;
  stopping = false;
  /** Tasks that have been in quarantine. */
  readonly closed = new Set<string>();
  /** Somebody would take from others what they hold. */
  preempts = false;

  constructor(private readonly emergencies: () => Emergencies) {}

  /** Who waits for an answer, and under which serials. */
  get open(): string[] {
    return [...this.#open.keys()];
  }

  openOf(requestor: string): Ask[] {
    return [...this.#open.values()].flat().filter((ask) => ask.requestor === requestor);
  }

  /** Nobody says any more that its requestor is there. */
  goQuiet(ask: Ask, now: number): void {
    ask.quietAt = Math.min(ask.quietAt, now);
  }

  /** Whoever waits has lost its connection to the router, and takes that for the answer. */
  interruptAll(): void {
    this.faults++;
    for (const { parts } of [...this.#open.values()].flat()) for (const part of parts) part.end ??= "INTERRUPTED";
    this.#open.clear();
    this.#cancels.clear();
  }

  /** What runs after the time in which it must have ended, for want of whoever asked for it. */
  checkDead(ask: Ask): void {
    for (const part of ask.parts) {
      const isGuarded = deadmanOfPart(part) < Number.POSITIVE_INFINITY;
      check(
        !isGuarded || !part.isInHand,
        `part ${part.uid} of ${ask.requestor} ${ask.serial} runs on without its requestor`,
      );
    }
  }

  get answered(): number {
    return this.#answered;
  }

  /** The request arrives at the router now, which takes it in within `handle`. */
  ask(ask: Ask, now: number, handle: () => void): void {
    ask.acceptedAt = now;
    const key = `${ask.requestor} ${ask.serial}`;
    this.#open.set(key, [...(this.#open.get(key) ?? []), ask]);
    for (const part of ask.parts) this.#parts.set(part.uid, { part, ask });
    this.#arriving = ask;
    handle();
    this.#arriving = null;
  }

  /** A part of which nobody waits for the answer: it may begin, as often as its task says. */
  adopt(part: Part, requestor: string, serial: string, acceptedAt: number, isForbidden: boolean): void {
    const never = { revokedAt: Number.POSITIVE_INFINITY, quietAt: Number.POSITIVE_INFINITY };
    const need: Need = { right: "send", of: part.name };
    const nobody = { user: null, person: undefined };
    const ask = { requestor, serial, version: 0.2, kind: "task", parts: [part], ...nobody, need, ...never } as const;
    this.#parts.set(part.uid, { part, ask: { ...ask, acceptedAt, isForbidden, answeredAt: acceptedAt } });
    this.#adopted.add(part.uid);
  }

  rightsChanged(mayStill: (ask: Ask) => boolean, now: number): void {
    this.faults++; // a worker may have lost its right
    for (const ask of [...this.#open.values()].flat()) if (!mayStill(ask)) ask.revokedAt = Math.min(ask.revokedAt, now);
  }

  /** One who asked cancels: every request of that name, until it is known which of two was meant. */
  cancel(requestor: string, serial: string): void {
    const key = `${requestor} ${serial}`;
    this.#cancels.set(key, (this.#cancels.get(key) ?? 0) + 1);
    this.cancelAll(key);
  }

  cancelAll(key: string): void {
    for (const { parts } of this.#open.get(key) ?? []) for (const part of parts) part.isCancelled = true;
  }

  openKeysOf(serial: string): string[] {
    return [...this.#open].filter(([, asks]) => asks[0]?.serial === serial).map(([key]) => key);
  }

  /** Takes what leaves for a requestor. Says whether it was the last word on a request. */
  reply(requestor: string, reply: Reply, now: number): boolean {
    const key = `${requestor} ${reply.meta.serial ?? ""}`;
    const asks = this.#open.get(key) ?? [];
    const [oldest] = asks;
    const code = reply.kind === "error" ? reply.error.code : null;
    if (code === "UNKNOWN_SERIAL") {
      const left = (this.#cancels.get(key) ?? 0) - 1;
      check(left >= 0, `${key}: told of a cancel that nobody sent`);
      this.#cancels.set(key, left);
      return false;
    }
    if (oldest === undefined) throw new Violation(`${key}: a ${reply.kind} for a request that is not open`);
    check(reply.meta.version === oldest.version, `${key}: answered in version ${reply.meta.version}`);
    if (reply.kind === "progress" || reply.kind === "keepAlive") return false;
    // Only a second request of one name is refused by BAD_FRAME; all that is sent here is sound otherwise.
    if (code === "BAD_FRAME") check(asks.length > 1, `${key}: refused though it is the only one of its name`);
    const newest = asks.at(-1) ?? oldest;
    const isRefusal = code !== null && (refusals.has(code) || code === "UNAUTHORIZED" || code === "STOPPED");
    const ask = newest === this.#arriving && isRefusal ? newest : oldest;
    check(
      !ask.isForbidden || code === "UNAUTHORIZED",
      `${key}: answered by ${code ?? reply.kind}, which it may not ask`,
    );
    const left = asks.filter((other) => other !== ask);
    if (left.length === 0) this.#open.delete(key);
    else this.#open.set(key, left);
    ask.answeredAt = now;
    this.#settle(ask, reply);
    this.#answered++;
    return true;
  }

  /**
   * A worker begins a job now. Says how long that may go on at the most, in ms.
   * @param canBeTold that a right was taken back: not where the connection is lost, nor of what is kept as soon as it is read
   */
  begin(uid: number, supervised: boolean, canBeTold: boolean, now: number): number {
    const { part, ask } = this.#of(uid);
    const name = `part ${uid} of ${ask.requestor} ${ask.serial}`;
    part.begins++;
    part.isInHand = supervised && canBeTold;
    check(!ask.isForbidden && (!canBeTold || now <= ask.revokedAt + echoMs), `${name}: begun without the right to`);
    this.emergencies().begin(part.name, canBeTold);
    const deadAt = ask.quietAt + deadmanOfPart(part) + echoMs;
    check(!canBeTold || now <= deadAt, `${name}: begun though its requestor was quiet for too long`);
    const tries = part.task === null ? 1 : triesOf(part.task);
    check(part.begins <= tries || this.repeated.has(uid), `${name}: begun ${part.begins} times, ${tries} allowed`);
    const ttlMs = Math.min(...[part.options.ttlMs, part.task?.policy.ttlMs].filter((limit) => limit !== undefined));
    check(now <= ask.acceptedAt + ttlMs + delayMsMax, `${name}: begun after its ttlMs`);
    // One whose worker was given up may live on without a connection; its jobs were answered as interrupted. One whose right was taken
    // back is answered at that moment, by what it was told to end by before if it was; its ABORT is on its way, for which there is a
    // limit above.
    const isEarly = part.end === "INTERRUPTED" || ask.answeredAt === ask.revokedAt;
    const mayBegin = part.end === null || isEarly || tries > 1;
    check(mayBegin, `${name}: begun after its end as ${part.end}`);
    const limits = [part.options.timeoutMs, part.task?.policy.timeoutMs].filter((limit) => limit !== undefined);
    const graceMs = part.task?.policy.graceMs ?? abortGraceMs;
    return Math.min(...limits) + graceMs + 2 * delayMsMax + (supervised ? killMs + 2 * verdictMs : verdictMs);
  }

  /** It does not run any more, or is out of reach. */
  letGo(uid: number): void {
    const found = this.#parts.get(uid);
    if (found !== undefined) found.part.isInHand = false;
  }

  /** Whether its requestor still waits; of a part of a batch that is only known once the whole is answered. */
  isOpen(uid: number): boolean {
    const { part, ask } = this.#of(uid);
    return !this.#adopted.has(uid) && ask.parts.length === 1 && part.end === null;
  }

  #of(uid: number): { readonly part: Part; readonly ask: Ask } {
    const found = this.#parts.get(uid);
    if (found === undefined) throw new Violation(`part ${uid} was never asked for`);
    return found;
  }

  #settle(ask: Ask, reply: Exclude<Reply, { kind: "progress" | "keepAlive" }>): void {
    const name = `${ask.requestor} ${ask.serial}`;
    const { parts } = ask;
    if (reply.kind === "error") {
      const isRefusal = refusals.has(reply.error.code) || ask.isForbidden || reply.error.code === "STOPPED";
      check(parts.length === 1 || isRefusal, `${name}: a batch failed as a whole by ${reply.error.code}`);
      for (const part of parts) this.#end(name, ask, part, reply);
      return;
    }
    if (parts.length > 1) {
      check(
        reply.kind === "batch" && reply.parts.length === parts.length,
        `${name}: not all parts of the batch are there`,
      );
      if (reply.kind === "batch")
        for (const [index, part] of parts.entries()) this.#end(name, ask, part, reply.parts[index]);
      return;
    }
    const [part] = parts;
    if (part === undefined || reply.kind !== "ack") throw new Violation(`${name}: answered with a ${reply.kind}`);
    if (ask.version === 0.1) check(reply.data === undefined, `${name}: version 0.1 was given a result`);
    this.#end(name, ask, part, ask.version === 0.1 ? undefined : { data: reply.data ?? null });
  }

  /** @param result undefined: an acknowledgement alone */
  #end(
    name: string,
    ask: Ask,
    part: Part,
    result: Pick<Reply & { kind: "error" }, "error"> | ReplyPart | undefined,
  ): void {
    check(part.end === null, `${name}: part ${part.uid} ended twice`);
    if (result !== undefined && "error" in result) {
      part.end = result.error.code;
      this.#checkCode(`${name}: part ${part.uid}`, ask, part, result.error.code);
      return;
    }
    part.end = "ACK";
    if (ask.kind === "get") return;
    check(part.begins > 0, `${name}: part ${part.uid} has a result and never ran`);
    if (result === undefined) return;
    const uid = (result.data as { uid?: unknown } | null)?.uid;
    check(uid === part.uid, `${name}: the result of part ${uid} came for part ${part.uid}`);
  }

  #checkCode(name: string, ask: Ask, part: Part, code: ErrorCode): void {
    const { task, options } = part;
    const isOnce = task === null || triesOf(task) === 1;
    if (refusals.has(code)) check(part.begins === 0 || !isOnce, `${name}: ${code}, but it had begun`);
    const plausible: Partial<Record<ErrorCode, boolean>> = {
      EXPIRED: options.ttlMs !== undefined || task?.policy.ttlMs !== undefined,
      QUEUE_FULL: this.flooded,
      UNKNOWN_TASK: true,
      UNKNOWN_TOPIC: true,
      UNAVAILABLE: task === null || isLockable(task) || ask.parts.some(({ name }) => this.closed.has(name)),
      SHUTTING_DOWN: this.stopping,
      BAD_FRAME: true,
      UNAUTHORIZED: ask.isForbidden || ask.revokedAt < Number.POSITIVE_INFINITY,
      CANCELLED: part.isCancelled,
      TIMEOUT: options.timeoutMs !== undefined || task?.policy.timeoutMs !== undefined,
      TASK_ERROR: task?.canThrow === true,
      STOPPED: this.emergencies().canStop(part.name, ask.acceptedAt) || ask.parts.length > 1,
      DEADMAN: ask.quietAt < Number.POSITIVE_INFINITY && deadmanOfPart(part) < Number.POSITIVE_INFINITY,
      SUPERSEDED: options.latest !== undefined,
      PREEMPTED: task?.policy.preemptible === true && this.preempts,
      UNSUPPORTED_VERSION: ask.version === 0.1 && task?.policy.deadmanMs !== undefined,
      POISONOUS: !isOnce && this.faults >= 3,
      INTERRUPTED: this.faults > 0,
    };
    check(plausible[code] === true, `${name}: ended as ${code}, for which there was no cause`);
  }
}

/** Whether it may need what only a person can free. */
const isLockable = ({ policy }: SimulatedTask): boolean => policy.resources !== undefined || policy.onStop === true;

export class Violation extends Error {
  override readonly name = "Violation";
}

export const check = (isRight: boolean, what: string): void => {
  if (!isRight) throw new Violation(what);
};
