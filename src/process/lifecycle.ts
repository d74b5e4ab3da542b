/**
 * What a process of the engine and its supervisor say to each other of life and death, and never about what travels through
 * the engine. This is the child's end and the words; the supervisor's end is in `supervisor/`.
 */
import { readlinkSync } from "node:fs";
import type { Quarantined, Stopped, StopResult } from "../protocol/blocked.ts";
import type { Security } from "../security/gate.ts";
import { libc } from "../transport/libc.ts";
import { Channel, channelDescriptor } from "./channel.ts";

// The supervisor knows these, and no message of the public protocol.
export type { Quarantined, Stopped, StopResult };

/** What a child tells its supervisor. */
export type ChildMessage =
  /** It serves: the port is bound, the tasks are loaded, the router knows it. */
  | { readonly type: "online" }
  /** It cannot start, and no other attempt would go better (a taken port, a broken task file). It exits at once. */
  | { readonly type: "fatal"; readonly message: string }
  /** The answer to `ping`: its event loop turns. */
  | { readonly type: "pong" }
  /** The router, after `drain`: nothing runs and nothing waits any more. */
  | { readonly type: "drained" }
  /** The router, last of all: tasks of which a job was cut off whose `onStop` has not been run since. */
  | { readonly type: "unsafe"; readonly tasks: readonly string[] }
  /** The router: this worker does not let go of a job that it was told to end. */
  | { readonly type: "kill"; readonly pid: number; readonly why: string }
  /** A worker that has done its share, or was told to end, and does so as soon as it holds nothing. It is no death. */
  | { readonly type: "recycle"; readonly why: string }
  /** A task worker's answer to `halt`: nothing runs that was to end. Its `onStop` may still run. */
  | { readonly type: "still"; readonly halt: number }
  /**
   * The router, which has stopped already: the supervisor sees to the rest, and answers `latched` with the same number once the stop is
   * on the disk, or cannot be put there.
   */
  | { readonly type: "estop"; readonly stopped: Stopped; readonly request: number }
  /** The router: end the emergency stop. The answer is `stopped` with null, or `resetRefused` with the same number. */
  | { readonly type: "reset"; readonly request: number }
  /**
   * The router: nobody waits any more for the resets so far, and none of them is to end the emergency stop. If one has done so at this
   * moment, the stop holds again that the router knows of.
   */
  | { readonly type: "withdrawReset"; readonly stopped: Stopped | null };

/** What a supervisor tells its child. */
export type SupervisorMessage =
  /** To every role that has sockets, before anything else. Keys travel here alone: argv and environment are for all to see. */
  | { readonly type: "security"; readonly security: Security | null }
  /** To the same: the file of authorized clients has been read again. */
  | { readonly type: "authorized"; readonly text: string }
  /**
   * To the router, before anything else: the tasks that the workers will serve once they are there. `isUnsafe`: jobs of before may have
   * been cut off, and it is not known which, so every task's `onStop` has to run before a job of it, or one that needs what it holds.
   */
  | { readonly type: "tasks"; readonly tasks: readonly KnownTask[]; readonly isUnsafe?: boolean }
  /** To the router and to task workers, before the tasks and at each change: the emergency stop that holds, or null. */
  | { readonly type: "stopped"; readonly stopped: Stopped | null }
  /** To the router and to task workers, before the tasks and at each change: tasks that are closed since their jobs kill workers. */
  | { readonly type: "quarantined"; readonly tasks: readonly Quarantined[] }
  /**
   * To the router: why the emergency stop will not outlive the engine; null if it is on the disk. `request`: the `estop` that this
   * answers; 0 where it is said unasked.
   */
  | { readonly type: "latched"; readonly request: number; readonly failure: string | null }
  /** To the router: this reset does not come, and the emergency stop stays. */
  | { readonly type: "resetRefused"; readonly request: number; readonly why: string }
  /**
   * To a task worker: end what runs and what waits, by this code, but for tasks that are allowed when stopped if it `spares` them; then
   * say `still`. One that does not in time is killed.
   */
  | {
      readonly type: "halt";
      readonly halt: number;
      readonly code: "STOPPED" | "INTERRUPTED";
      readonly message: string;
      readonly spares: boolean;
    }
  /** To any: end once what runs has ended. One that does not is killed. */
  | { readonly type: "stop" }
  /** To any: say `pong`. */
  | { readonly type: "ping" }
  /** To the router: take nothing new, answer what waits with SHUTTING_DOWN, say `drained` when nothing runs. */
  | { readonly type: "drain" }
  /** To the router, when the grace time is over: end what runs by its abort signal. */
  | { readonly type: "abort" }
  /** To the router: this child has died. Whatever it was running will not be answered by it. */
  | {
      readonly type: "gone";
      readonly pid: number;
      /** The last job that it had begun, by the router's number; 0 for none. See begun.ts. */
      readonly begun: number;
    };

/** A task and its policy. What a policy is only router and workers know. */
export type KnownTask = { readonly name: string } & Readonly<Record<string, unknown>>;

/**
 * Calls `stop` when this process is to end: at its supervisor's word alone. One without a supervisor obeys SIGTERM. To be called once.
 */
export const onStop = (stop: () => void): void => {
  end = stop;
  if (hasSupervisor()) return;
  process.on("SIGINT", ignoreSignal);
  process.once("SIGTERM", stop);
};

/** What the supervisor's word means as long as nothing runs: before the role has begun. */
let end = (): void => process.exit(0);

const ignoreSignal = (): void => undefined;

const deathSignalOption = 1; // PR_SET_PDEATHSIG, prctl(2)
const sigkill = 9;
const sigcont = 18;

/** Tells a child its supervisor's process id. It is 1 where the engine is all that runs in a container. */
export const supervisorVariable = "TASK_ENGINE_SUPERVISOR_PID";

/**
 * Makes the kernel kill this process when its supervisor dies, even if that is by SIGKILL and this one is in an endless
 * loop. To be called first of all by every role that `serve` starts.
 */
export const dieWithSupervisor = (): void => liveUnderSupervisor(sigkill);

/**
 * For the router, which has something to do when its supervisor dies (see `onSupervisorLost`): the kernel does not kill it then,
 * but has it go on if somebody has halted it.
 */
export const outliveSupervisor = (): void => liveUnderSupervisor(sigcont);

const liveUnderSupervisor = (deathSignal: number): void => {
  if (!hasSupervisor()) return;
  libc.prctl(deathSignalOption, deathSignal, 0, 0, 0);
  // It may have died before the kernel knew of our wish; then another process, one that adopts orphans, is our parent by now.
  if (process.env[supervisorVariable] !== String(libc.getppid())) process.exit(1);
  delete process.env[supervisorVariable];
  // Who tells all processes of the engine to end, as killall and systemd do, has told the supervisor, and that decides.
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, ignoreSignal);
  channel = new Channel<SupervisorMessage, ChildMessage>(channelDescriptor, (message) => {
    if (message.type === "ping") tellSupervisor({ type: "pong" });
    else if (message.type === "stop") end();
    else if (message.type === "security") security.resolve(message.security);
    else if (message.type === "authorized") takeAuthorized(message.text);
    else if (hear === null) unheard.push(message);
    else hear(message);
  });
  void channel.ended.then(() => lost());
};

let lost = (): void => process.exit(1);

/** Calls `handler` when the supervisor is gone, in place of the end of this process. To be called once. */
export const onSupervisorLost = (handler: () => void): void => {
  lost = handler;
};

const isChild = process.env[supervisorVariable] !== undefined;
let channel: Channel<SupervisorMessage, ChildMessage> | null = null;

export const hasSupervisor = (): boolean => isChild;

/** Tells the supervisor, if there is one: a role that a person started by hand has none, and one may be dead. */
export const tellSupervisor = (message: ChildMessage): void => {
  channel?.send(message);
};

/**
 * How this program is called, without a verb. When it runs from source, its main module stands between Bun and the verb, and Bun
 * is told not to fetch from the network, and run, what a task file imports and nobody has installed.
 */
export const ownProgram = (): readonly string[] => {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return [runningImage(), ...(isCompiled ? [] : ["--no-install", Bun.main])];
};

/**
 * The program that this process runs, also where its file has been renamed, or replaced by that of another version: proc_pid_exe(5). By
 * its path where it has one, since a process is called by what it was started as.
 */
const runningImage = (): string => {
  const link = "/proc/self/exe";
  const path = readlinkSync(link);
  const isThere = path.startsWith("/") && !path.endsWith(" (deleted)");
  return isThere ? path : link;
};

/** Why something is made safe, as its task is told. */
export interface SafeReason {
  readonly code: "STOPPED" | "INTERRUPTED" | "SHUTTING_DOWN";
  readonly message: string;
}

/** Where a process finds its task files: a folder that must be there, or one that may be. Null for neither. */
export interface TasksFolder {
  readonly tasks: string | null;
  readonly tasksIfAny: string | null;
}

/** The same as flags of a role. */
export const tasksFlags = ({ tasks, tasksIfAny }: TasksFolder): readonly string[] => [
  ...(tasks === null ? [] : ["--tasks", tasks]),
  ...(tasksIfAny === null ? [] : ["--tasks-if-any", tasksIfAny]),
];

/** The verb that makes hardware safe in a process of its own. */
export const safeVerb = (folder: TasksFolder): readonly string[] => ["safe", ...tasksFlags(folder)];

/**
 * What it makes safe.
 * @param hook the task of `on-stop`, which is run as a whole; null for none
 * @param tasks those whose `onStop` is run
 */
export const safeFlags = (
  hook: string | null,
  tasks: readonly string[],
  { code, message }: SafeReason,
): readonly string[] => [
  ...(hook === null ? [] : ["--run", hook]),
  ...tasks.map((task) => `--on-stop=${task}`),
  `--code=${code}`,
  // It may be a stranger's words; there is one character that no program can be given.
  `--message=${message.replaceAll("\0", " ")}`,
];

const security = Promise.withResolvers<Security | null>();
let hearAuthorized: ((text: string) => void) | null = null;
/** The newest text that nobody has heard yet. */
let unheardText: string | null = null;

const takeAuthorized = (text: string): void => {
  if (hearAuthorized === null) unheardText = text;
  else hearAuthorized(text);
};

/** The supervisor's word on keys, as soon as it is here; a role without a supervisor has none. */
export const toldSecurity = (): Promise<Security | null> =>
  hasSupervisor() ? security.promise : Promise.resolve(null);

/** To be called once; what has come before is given to the handler at once. */
export const onAuthorized = (handler: (text: string) => void): void => {
  hearAuthorized = handler;
  if (unheardText !== null) handler(unheardText);
};

let hear: ((message: SupervisorMessage) => void) | null = null;
/** What came before anybody listened: few, since a supervisor says little to a process that is just starting. */
const unheard: SupervisorMessage[] = [];

/** To be called once, after `dieWithSupervisor`; what came in between is given to the handler at once. */
export const onSupervisorMessage = (handler: (message: SupervisorMessage) => void): void => {
  hear = handler;
  for (const message of unheard.splice(0)) handler(message);
};
