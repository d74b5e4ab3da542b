/** One child process, from its start to its end: what it says of itself, what it is told, how it ended. */

import { lastWordsMs, scanOutputBytesMax } from "../limits.ts";
import { type Channel, withChannel } from "../process/channel.ts";
import { endDescendantsOf, kill, mark } from "../process/descendants.ts";
import { warn } from "../process/log.ts";
import type { ChildMessage, SupervisorMessage } from "../process/messages.ts";
import { supervisorVariable } from "../process/supervised.ts";
import { isOneShot, type Role } from "./roles.ts";
import { late, within } from "./within.ts";

export interface ChildOptions {
  readonly role: Role;
  readonly command: readonly string[];
  readonly environment: Record<string, string>;
  /** The engine's number, by which its descendants are found. */
  readonly engine: bigint;
  /** An open file that it finds as the descriptor after its channel's. */
  readonly record: number | null;
  /** What the router asks its supervisor to do. */
  readonly onWish: (wish: RouterRequest, router: Child) => void;
  /** ms until a child that has not said that it is online is killed; an errand, that has not ended. */
  readonly onlineMs: number;
  /** ms from the word that it stop to SIGKILL, and from SIGKILL until it is given up as one that cannot be killed. */
  readonly terminateMs: number;
  readonly killMs: number;
}

/** To kill a worker, to stop the engine, to end that stop, or to leave it as it is after all. */
export type RouterRequest = Extract<ChildMessage, { readonly type: "kill" | "estop" | "reset" | "withdrawReset" }>;

/** What a task worker is told to end, and how: see `halt` in messages.ts. */
export type HaltOrder = Omit<Extract<SupervisorMessage, { readonly type: "halt" }>, "type" | "halt">;

export interface Ending {
  readonly exitCode: number | null;
  readonly signal: string | number | null;
  /** What it gave as the reason why it cannot start. */
  readonly fatal: string | null;
  /** Of a router: tasks that are left unsafe; null if it has not said, and all may be. */
  readonly unsafe: readonly string[] | null;
  /** How it ended, as the words that follow its name in a sentence. */
  readonly words: string;
  /** Why this is no death to be counted, as the words that follow `for`; null where it is one. */
  readonly plannedReason: string | null;
}

type Process = Bun.Subprocess<"ignore", "pipe" | "inherit", "inherit">;

export class Child {
  readonly role: Role;
  readonly pid: number;
  /** Resolves when it is online; never, if that does not come to pass. */
  readonly online: Promise<void>;
  /** Resolves when the router has nothing left to do. */
  readonly drained: Promise<void>;
  /** Resolves when it is gone with all that it has started, and all it has said is heard. Never rejects. */
  readonly ended: Promise<Ending>;

  readonly #process: Process;
  readonly #options: ChildOptions;
  readonly #online = Promise.withResolvers<void>();
  readonly #drained = Promise.withResolvers<void>();
  readonly #channel: Channel<ChildMessage, SupervisorMessage>;
  readonly #onlineTimer: Timer;
  #pong: PromiseWithResolvers<void> | null = null;
  /** Called when it says that it is still; one for each time that it was told to be. */
  readonly #stills = new Map<number, () => void>();
  #halts = 0;
  #isOnline = false;
  #isLate = false;
  #fatal: string | null = null;
  #unsafe: readonly string[] | null = null;
  /** Why it was, or has said that it will be, ended on purpose. */
  #dismissal: string | null = null;
  #farewell: string | null = null;

  /** Starts it. Throws what Bun.spawn throws if the system has no process to give, or no descriptor. */
  constructor(options: ChildOptions) {
    this.#options = options;
    this.role = options.role;
    const { channel, started } = withChannel(
      (message: ChildMessage) => this.#hear(message),
      (theirs): Process =>
        Bun.spawn({
          cmd: [...options.command],
          argv0: process.execPath,
          env: { ...options.environment, [supervisorVariable]: String(process.pid) },
          stdio: [
            "ignore",
            options.role.kind === "scan" ? "pipe" : "inherit",
            "inherit",
            theirs,
            ...(options.record === null ? [] : [options.record]),
          ],
          // A session of its own: what a terminal or a stranger tells the supervisor's process group is for the supervisor alone.
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

  /** All that it prints on stdout, of a child whose output is read (`scan`); of another, the empty string. */
  output(): Promise<string> {
    const { stdout } = this.#process;
    return stdout instanceof ReadableStream ? stdout.text() : Promise.resolve("");
  }

  /** Tells it something. One that is on its way out hears nothing, and what follows from that is left to its end. */
  send(message: SupervisorMessage): void {
    if (!this.hasEnded) this.#channel.send(message);
  }

  /** Resolves when its event loop has turned, or it has ended and so is no longer stuck. */
  async soundness(): Promise<void> {
    this.#pong ??= Promise.withResolvers();
    this.send({ type: "ping" });
    await Promise.race([this.#pong.promise, this.ended]);
  }

  /** Resolves when nothing runs there any more that is to end, or it has ended itself. */
  async still(order: HaltOrder): Promise<void> {
    const halt = ++this.#halts;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stills.set(halt, resolve);
    this.send({ type: "halt", halt, ...order });
    await Promise.race([promise, this.ended]);
    this.#stills.delete(halt);
  }

  /** Kills it, and at the same stroke what it has started and has not left its session. */
  kill(): void {
    if (!this.hasEnded) kill(-this.pid);
  }

  /** From now on its end is wanted, however it comes, and is no death. `why` follows the word `for`. */
  dismiss(why: string): void {
    this.#dismissal ??= why;
  }

  /**
   * Asks it to end, kills it if it does not. False if even that did not help.
   * @param graceMs what it has to finish first may take as long
   */
  async terminate(graceMs = 0): Promise<boolean> {
    this.send({ type: "stop" });
    if ((await within(this.ended, graceMs + this.#options.terminateMs)) !== late) return true;
    this.kill();
    return (await within(this.ended, this.#options.killMs)) !== late;
  }

  /** A task shares its worker's channel, and may say there what it likes. */
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
    else if (message.type === "recycle") this.#farewell = message.why;
    else if (message.type === "still") this.#stills.get(message.halt)?.();
    else if (this.role.kind !== "router") return;
    else if (message.type === "unsafe") this.#unsafe = message.tasks;
    else this.#options.onWish(message, this);
  }

  async #waitForEnd(): Promise<Ending> {
    await this.#process.exited;
    clearTimeout(this.#onlineTimer);
    // Before anybody hears of its end, and frees or makes safe what they may still be driving.
    await endDescendantsOf(this.pid, this.#options.engine);
    // Its last words may still be in the channel, and they say more than its exit code.
    await within(this.#channel.ended, lastWordsMs);
    const { exitCode, signalCode: signal } = this.#process;
    const plannedReason = this.#dismissal ?? (exitCode === 0 ? this.#farewell : null);
    const words = this.#endingWords(exitCode, signal);
    return { exitCode, signal, fatal: this.#fatal, unsafe: this.#unsafe, words, plannedReason: plannedReason };
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

/** What is said of its end when the engine stops. */
export const farewell = ({ pid, role }: Child, { exitCode, signal, words }: Ending): string => {
  if (signal === "SIGKILL") return `Killed process [${pid}]: ${role.kind}`;
  return exitCode === 0
    ? `Successfully terminated process [${pid}]: ${role.kind}`
    : `Process [${pid}]: ${role.kind} ${words}`;
};
