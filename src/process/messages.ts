/** The messages between supervisor and children: about processes, never about jobs or data. */
import type { Pauses, Quarantined, Stopped, StopResult, Trouble } from "../protocol/blocked.ts";
import type { LogLine } from "../protocol/engine-topics.ts";
import type { ScheduleDefinition } from "../protocol/schedules.ts";
import type { Security } from "../security/gate.ts";

// The supervisor knows these, and no message of the public protocol.
export type { Pauses, Quarantined, Stopped, StopResult, Trouble };

/** From a child to its supervisor. */
export type ChildMessage =
  /** It serves: its port is bound, its tasks are loaded, the router knows it. */
  | { readonly type: "online" }
  /** It cannot start, and a restart would not help (a taken port). It exits at once. */
  | { readonly type: "fatal"; readonly message: string }
  /** The answer to `ping`: its event loop turns. */
  | { readonly type: "pong" }
  /** From the router, after `drain`: no job runs or waits any more. */
  | { readonly type: "drained" }
  /** From the router, last: tasks of which a job was cut off, and `onStop` has not run since. */
  | { readonly type: "unsafe"; readonly tasks: readonly string[] }
  /** From the router: this worker ignores the abort signal of its job. */
  | { readonly type: "kill"; readonly pid: number; readonly why: string }
  /** From a worker that ends as planned, as soon as it has no job. */
  | { readonly type: "recycle"; readonly why: string }
  /**
   * From the journal: its file was damaged, so the engine has to stop until a person has looked.
   */
  | { readonly type: "damaged"; readonly why: string }
  /** From a task worker, in answer to `halt`: its jobs have ended. An `onStop` may still run. */
  | { readonly type: "still"; readonly halt: number }
  /**
   * From the router, which has stopped its jobs already. The answer is `latched` with the same
   * number, once the stop is on the disk or has failed to get there.
   */
  | { readonly type: "estop"; readonly stopped: Stopped; readonly request: number }
  /** From the router. The answer is `stopped` with null, or `resetRefused` with the same number. */
  | { readonly type: "reset"; readonly request: number }
  /**
   * From the router: no requestor waits for the resets so far, so none may end the emergency stop.
   * If one has just done so, the stop that the router knows holds again.
   */
  | { readonly type: "withdrawReset"; readonly stopped: Stopped | null }
  /**
   * From the router, where the pause of a task or schedule has begun already, or (`since` null) has
   * ended; the end of a task's pause ends its quarantine, too. The answer is `pauseKept` with the
   * same number, once that is on the disk or has failed to get there.
   */
  | ({ readonly type: "pause" } & PauseWish)
  /**
   * From the router: the task files and authorized keys are to be read again. The answer is
   * `reloaded` with the same number, when that has ended.
   */
  | { readonly type: "reload"; readonly request: number }
  /** From the router: it wants the lines of the log of all processes, or does not any more. */
  | { readonly type: "watchLog"; readonly isWatched: boolean }
  /** Lines of its log, while they are wanted, and the number of lines that were lost before. */
  | { readonly type: "log"; readonly lines: readonly LogLine[]; readonly lost: number };

/** From a supervisor to its child. */
export type SupervisorMessage =
  /** To roles with a port, first of all. Keys travel only here: others can read argv. */
  | { readonly type: "security"; readonly security: Security | null }
  /** To the same roles: the new content of the file of authorized clients. */
  | { readonly type: "authorized"; readonly text: string }
  /**
   * To the router, which begins by it: the tasks of the workers to come. `isUnsafe`: nobody knows
   * which earlier jobs were cut off, so the `onStop` of every task has to run before a job of it,
   * or one that needs its resources.
   */
  | ({ readonly type: "tasks"; readonly isUnsafe?: boolean } & EngineTasks)
  /** To router and task workers, before `tasks` and at each change; null for no stop. */
  | { readonly type: "stopped"; readonly stopped: Stopped | null }
  /** To router and task workers, before `tasks` and at each change: the tasks in quarantine. */
  | { readonly type: "quarantined"; readonly tasks: readonly Quarantined[] }
  /**
   * To the router, at each change: processes that the engine works without, and that cannot start.
   */
  | { readonly type: "troubles"; readonly troubles: readonly Trouble[] }
  /** To a router before `tasks`, and to task workers at each change, too: what is paused. */
  | ({ readonly type: "paused" } & Pauses)
  /**
   * To the router: why the change of a pause will not outlive the engine; null if it is on the
   * disk.
   */
  | { readonly type: "pauseKept"; readonly request: number; readonly failure: string | null }
  /**
   * To the router: why the emergency stop will not outlive the engine; null if it is on the disk.
   * `request` is that of the `estop`, or 0 for a message that answers none.
   */
  | { readonly type: "latched"; readonly request: number; readonly failure: string | null }
  /** To the router: the number of tasks after a reload, or why nothing was taken. */
  | {
      readonly type: "reloaded";
      readonly request: number;
      readonly tasks: number | null;
      readonly failure: string | null;
    }
  /** To the router: the emergency stop stays. */
  | { readonly type: "resetRefused"; readonly request: number; readonly why: string }
  /**
   * To a task worker: end all jobs by this code (but, if it `spares` them, those of tasks that are
   * allowed when stopped), then answer `still`. A worker that is late is killed.
   */
  | {
      readonly type: "halt";
      readonly halt: number;
      readonly code: "STOPPED" | "INTERRUPTED";
      readonly message: string;
      readonly spares: boolean;
    }
  /**
   * To data workers, at their start and at each reload: there are tasks or sources of Python, which
   * may publish.
   */
  | { readonly type: "python" }
  /** To every role but the router: send the lines of the log, or do not any more. */
  | { readonly type: "watchLog"; readonly isWatched: boolean }
  /** To the router: lines of the log of another process, by its kind and number. */
  | { readonly type: "log"; readonly process: string; readonly lines: readonly LogLine[]; readonly lost: number }
  /** To the router: this task worker is killed for a reason that did not come from the router. */
  | { readonly type: "killed"; readonly pid: number; readonly why: string }
  /** To every role: end when the running job has ended. A process that is late is killed. */
  | { readonly type: "stop" }
  /** To every role: answer `pong`. */
  | { readonly type: "ping" }
  /** To the router: refuse new jobs, answer waiting ones, send `drained` when none is left. */
  | { readonly type: "drain" }
  /** To the router, when the grace time is over: abort the running jobs. */
  | { readonly type: "abort" }
  /** To the router: this child has died, and will answer no job. */
  | {
      readonly type: "gone";
      readonly pid: number;
      /** The last job that it had begun, by the router's number; 0 for none. See begun.ts. */
      readonly begun: number;
    };

export interface PauseWish {
  readonly of: "task" | "schedule";
  readonly name: string;
  /** seconds since 1970; null ends the pause */
  readonly since: number | null;
  readonly request: number;
}

/** The tasks of the engine's own workers. */
export interface EngineTasks {
  readonly tasks: readonly KnownTask[];
  /** Left out where none of them is of Python. */
  readonly python?: PythonTasks;
  /** Tasks in the folder that no process can run. */
  readonly unavailable?: UnavailableTasks;
  /** Schedules of the file of settings; the others are in the policies. */
  readonly schedules?: readonly ScheduleDefinition[];
}

/** Those tasks that Python's workers run. */
export interface PythonTasks {
  readonly names: readonly string[];
  /** Path of the router's socket for their workers. */
  readonly socket: string;
  /** Path of the interpreter, for safe stops after the supervisor's death. */
  readonly interpreter: string;
}

export interface UnavailableTasks {
  readonly names: readonly string[];
  /** One line: why, and what to do. */
  readonly why: string;
}

/** A task and its policy, which only router and workers understand. */
export type KnownTask = { readonly name: string } & Readonly<Record<string, unknown>>;

/** The engine's state as its service manager is told. */
export type ServiceState = "ready" | "reloading" | "stopping";
