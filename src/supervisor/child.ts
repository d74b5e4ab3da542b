/** One child process, from its start to its end: its messages, how it is stopped, how it ended. */

import { beatIntervalMs, killMs, lastWordsMs, scanOutputBytesMax, unansweredBeatsMax } from "../limits.ts";
import { type Channel, withChannel } from "../process/channel.ts";
import { endDescendantsOf, kill, mark } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import type { ChildMessage, SupervisorMessage } from "../process/messages.ts";
import { supervisorVariable } from "../process/supervised.ts";
import { isOneShot, labelOf, type Role } from "./roles.ts";
import { late, within } from "./within.ts";

interface ChildOptions {
  readonly role: Role;
  readonly command: readonly string[];
  readonly environment: Record<string, string>;
  /** Marks its descendants: see `engineNumber`. */
  readonly engine: bigint;
  /** Open files that the child gets as the descriptors after its channel. */
  readonly descriptors: readonly number[];
  readonly onRouterRequest: (request: RouterRequest, router: Child) => void;
  /** The journal's file was damaged. */
  readonly onDamaged: (why: string) => void;
  readonly onLog: (message: LogMessage, child: Child) => void;
  /** It is about to be killed by the supervisor. */
  readonly onKill: (child: Child, why: string) => void;
  /** ms until a child that is not online, or a one-shot role that has not ended, is killed. */
  readonly onlineMs: number;
  /** ms from `stop` to SIGKILL. */
  readonly terminateMs: number;
}

/** A message by which the router asks its supervisor to act. */
export type RouterRequest = Extract<
  ChildMessage,
  { readonly type: "kill" | "estop" | "reset" | "withdrawReset" | "pause" | "reload" | "watchLog" }
>;

type LogMessage = Extract<ChildMessage, { readonly type: "log" }>;

/** The content of a `halt`: see messages.ts. */
type HaltOrder = Omit<Extract<SupervisorMessage, { readonly type: "halt" }>, "type" | "halt">;

export interface Ending {
  readonly exitCode: number | null;
  readonly signal: string | number | null;
  /** The child's own reason why it cannot start. */
  readonly fatal: string | null;
  /** Tasks that a router leaves unsafe; null if it has not said, so that all may be. */
  readonly unsafe: readonly string[] | null;
  /** Its end, as words that follow its name. */
  readonly words: string;
  /** Why the end was planned, as words that follow `for`; null for a death. */
  readonly plannedReason: string | null;
}

type Process = Bun.Subprocess<"ignore", "pipe" | "inherit", "inherit">;

export class Child {
  readonly role: Role;
  readonly pid: number;
  /** Resolves when it is online; never, if that does not happen. */
  readonly online: Promise<void>;
  /** Resolves when the router has no job left. */
  readonly drained: Promise<void>;
  /** Resolves when it and its descendants are gone and its last message is read. Never rejects. */
  readonly ended: Promise<Ending>;

  readonly #process: Process;
  readonly #options: ChildOptions;
  readonly #online = Promise.withResolvers<void>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #channel: Channel<ChildMessage, SupervisorMessage>;
  readonly #onlineTimer: Timer;
  #pong: PromiseWithResolvers<void> | null = null;
  /** Resolved by `still`, by the number of the `halt`. */
  readonly #stills = new Map<number, () => void>();
  #halts = 0;
  #isOnline = false;
  #isLate = false;
  #fatal: string | null = null;
  #unsafe: readonly string[] | null = null;
  /** Why the supervisor ends it. */
  #dismissal: string | null = null;
  /** Why it ends itself. */
  #leaveReason: string | null = null;

  /** Throws the error of Bun.spawn if the system has no process or no descriptor left. */
  constructor(options: ChildOptions) {
    this.#options = options;
    this.role = options.role;
    const { channel, started } = withChannel(
      (message: ChildMessage) => this.#hear(message),
      (theirs): Process =>
        Bun.spawn({
          cmd: [...options.command],
          // Python looks for its libraries by this name.
          argv0: options.role.isPython ? (options.command[0] ?? "") : process.execPath,
          env: { ...options.environment, [supervisorVariable]: String(process.pid) },
          stdio: [
            "ignore",
            options.role.kind === "scan" ? "pipe" : "inherit",
            "inherit",
            theirs,
            ...options.descriptors,
          ],
          // A session of its own: signals to the supervisor's process group are for the supervisor
          // alone.
          detached: true,
          maxBuffer: scanOutputBytesMax,
        }),
    );
    this.#channel = channel;
    this.#process = started;
    this.pid = this.#process.pid;
    if (!mark(this.pid, options.engine)) {
      warn(`Process [${this.pid}]: what it starts may outlive it, since the system refuses to set RLIMIT_LOCKS`);
    }
    this.online = this.#online.promise;
    this.drained = this.#drained.promise;
    this.#onlineTimer = setTimeout(() => {
      this.#isLate = true;
      this.kill();
    }, options.onlineMs);
    this.ended = this.#waitForEnd();
  }

  get isOnline(): boolean {
    return this.#isOnline;
  }

  get hasEnded(): boolean {
    return this.#process.exitCode !== null || this.#process.signalCode !== null;
  }

  /** It has not read an earlier message. */
  get isBusy(): boolean {
    return this.#channel.isBusy;
  }

  /** The whole stdout of a `scan`; empty for other roles. */
  output(): Promise<string> {
    const { stdout } = this.#process;
    return stdout instanceof ReadableStream ? stdout.text() : Promise.resolve("");
  }

  /** A child that has ended gets nothing. */
  send(message: SupervisorMessage): void {
    if (!this.hasEnded) this.#channel.send(message);
  }

  /** Resolves when its event loop has answered a ping, or when it has ended. */
  async soundness(): Promise<void> {
    this.#pong ??= Promise.withResolvers();
    this.send({ type: "ping" });
    await Promise.race([this.#pong.promise, this.ended]);
  }

  /**
   * Kills it as soon as its event loop is stuck. Resolves when it has ended. For a child that is
   * online, and whose work nobody else watches.
   */
  async endIfStuck(): Promise<void> {
    // The answer to one ping may lie unread while this process was halted itself.
    for (let unanswered = 0; !this.hasEnded; ) {
      unanswered = (await within(this.soundness(), beatIntervalMs)) === late ? unanswered + 1 : 0;
      if (unanswered === unansweredBeatsMax) {
        return this.killFor(`it has not answered in ${unansweredBeatsMax * beatIntervalMs} ms`);
      }
      if (unanswered === 0) await within(this.ended, beatIntervalMs);
    }
  }

  /**
   * Ends the jobs of a task worker. Resolves when none of them runs any more, or the worker is
   * dead.
   * @param graceMs from the abort signal of its job until the worker is killed
   */
  async halt(order: HaltOrder, graceMs: number): Promise<void> {
    const halt = ++this.#halts;
    const { promise: still, resolve } = Promise.withResolvers<void>();
    this.#stills.set(halt, resolve);
    this.send({ type: "halt", halt, ...order });
    const isLate = (await within(Promise.race([still, this.ended]), graceMs)) === late;
    this.#stills.delete(halt);
    if (isLate) await this.killFor(`it was not still after ${graceMs} ms: ${order.message}`);
  }

  /** Kills it as planned, and waits for its end, but not for a process that cannot be killed. */
  async killFor(why: string): Promise<void> {
    if (!this.hasEnded) warn(`Process [${this.pid}]: ${labelOf(this.role)} is killed: ${why}`);
    this.dismiss(why);
    this.#options.onKill(this, why);
    this.kill();
    await within(this.ended, killMs);
  }

  /** Kills it together with its process group. */
  kill(): void {
    if (!this.hasEnded) kill(-this.pid);
  }

  /** From now on its end counts as planned. @param why follows the word `for` */
  dismiss(why: string): void {
    this.#dismissal ??= why;
  }

  /**
   * Asks it to end, and kills it if it does not. Resolves with false if it outlives that too.
   * @param graceMs for its running job, beside the time that its end takes
   */
  async terminate(graceMs = 0): Promise<boolean> {
    this.send({ type: "stop" });
    if ((await within(this.ended, graceMs + this.#options.terminateMs)) !== late) return true;
    this.kill();
    return (await within(this.ended, killMs)) !== late;
  }

  /** Untrusted: a task shares its worker's channel, and may write any message there. */
  #hear(message: ChildMessage): void {
    if (message.type === "online") {
      clearTimeout(this.#onlineTimer);
      this.#isOnline = true;
      this.#online.resolve();
    } else if (message.type === "pong") {
      this.#pong?.resolve();
      this.#pong = null;
    } else if (message.type === "drained") this.#drained.resolve();
    else if (message.type === "fatal") this.#fatal = message.message;
    else if (message.type === "recycle") this.#leaveReason = message.why;
    else if (message.type === "still") this.#stills.get(message.halt)?.();
    else if (message.type === "log") this.#options.onLog(message, this);
    else if (message.type === "damaged") this.role.kind === "journal" && this.#options.onDamaged(message.why);
    else if (this.role.kind !== "router") return;
    else if (message.type === "unsafe") this.#unsafe = message.tasks;
    else this.#options.onRouterRequest(message, this);
  }

  async #waitForEnd(): Promise<Ending> {
    await this.#process.exited;
    clearTimeout(this.#onlineTimer);
    // First: nobody may hear of its end, and free or make safe anything, that its descendants still
    // drive.
    await endDescendantsOf(this.pid, this.#options.engine);
    // Its last messages may still be in the channel, and they say more than its exit code.
    await within(this.#channel.ended, lastWordsMs);
    const { exitCode, signalCode: signal } = this.#process;
    const plannedReason = this.#dismissal ?? (exitCode === 0 ? this.#leaveReason : null);
    const words = this.#endingWords(exitCode, signal);
    return { exitCode, signal, fatal: this.#fatal, unsafe: this.#unsafe, words, plannedReason };
  }

  #endingWords(exitCode: number | null, signal: string | number | null): string {
    if (this.#fatal !== null) return `cannot start: ${this.#fatal}`;
    const { role, onlineMs } = this.#options;
    if (this.#isLate) return `was not ${isOneShot(role) ? "done" : "online"} after ${onlineMs} ms and was killed`;
    const before = this.#isOnline || isOneShot(role) ? "" : " before it was online";
    return signal === null
      ? `ended with exit code ${exitCode}${before}`
      : `ended by ${typeof signal === "number" ? "signal " : ""}${signal}${before}`;
  }
}

/** The line on its end while the engine stops. */
export const exitLine = ({ pid, role }: Child, { exitCode, signal, words }: Ending): string => {
  if (signal === "SIGKILL") return `Killed process [${pid}]: ${labelOf(role)}`;
  return exitCode === 0
    ? `Successfully terminated process [${pid}]: ${labelOf(role)}`
    : `Process [${pid}]: ${labelOf(role)} ${words}`;
};
