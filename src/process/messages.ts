/**
 * The messages between a process of the engine and its supervisor. They are about the processes, and never about what travels
 * through the engine.
 */
import type { Quarantined, Stopped, StopResult } from "../protocol/blocked.ts";
import type { Security } from "../security/gate.ts";

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

/** The engine's state as its service manager is told. */
export type ServiceState = "ready" | "reloading" | "stopping";
