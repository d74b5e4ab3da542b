/**
 * The two sides of the broker: the events that it is told, and the effects that it wants in return.
 */

import type { BackendMessage, RouterHeader, WorkerHeader } from "../protocol/backend.ts";
import type { Pauses, Quarantined, Stopped, Trouble } from "../protocol/blocked.ts";
import type { LogLine, RouterTopic } from "../protocol/engine-topics.ts";
import type { Arrival, Requestor } from "../protocol/envelope.ts";
import type { Frame } from "../protocol/frame.ts";
import type { ArgumentSchema, Policy } from "../protocol/policy.ts";
import type { ScheduleDefinition } from "../protocol/schedules.ts";
import type { Access } from "../security/access.ts";

export type NamedPolicy = { readonly name: string; readonly schema?: ArgumentSchema | undefined } & Policy;

export interface UnavailableTasks {
  readonly names: readonly string[];
  readonly why: string;
}

export type BrokerEvent =
  | Arrival
  | {
      readonly type: "worker";
      /** Routing id of the worker. */
      readonly key: string;
      /** Name of the key that authenticated it; null in an engine without keys. */
      readonly user: string | null;
      readonly message: BackendMessage<WorkerHeader>;
    }
  /** The rights from now on. Until the first of these events no known user has any. */
  | { readonly type: "access"; readonly access: Access }
  /** The connection of a worker is gone. */
  | { readonly type: "disconnected"; readonly key: string }
  /**
   * The supervisor: this process has died; `begun` is the job that it had begun last, 0 for none.
   */
  | { readonly type: "gone"; readonly pid: number; readonly begun: number }
  /** The supervisor is about to kill this process, for a reason that it has not from here. */
  | { readonly type: "killed"; readonly pid: number; readonly why: string }
  /**
   * Lines of the log of a process, while `watchLog` wants them. `lost`: the number of lines before
   * them that did not get here.
   */
  | { readonly type: "log"; readonly process: string; readonly lines: readonly LogLine[]; readonly lost: number }
  /**
   * The supervisor: the tasks of its workers. `isUnsafe`: each needs a safe stop first.
   * `unavailable`: tasks of its folder that no process can run, and why.
   */
  | {
      readonly type: "tasks";
      readonly tasks: readonly NamedPolicy[];
      readonly isUnsafe?: boolean;
      readonly unavailable?: UnavailableTasks;
      /** Those of the file of settings; the others are in the policies. */
      readonly schedules?: readonly ScheduleDefinition[];
    }
  /** The wall clock is right, or there is nothing better: schedules go by it from now on. */
  | { readonly type: "clock" }
  /** The supervisor: the emergency stop that holds, or null. */
  | { readonly type: "stopped"; readonly stopped: Stopped | null }
  /** The supervisor: the tasks in quarantine. */
  | { readonly type: "quarantined"; readonly tasks: readonly Quarantined[] }
  /** The supervisor: processes that the engine works without, and that cannot start. */
  | { readonly type: "troubles"; readonly troubles: readonly Trouble[] }
  /** The supervisor, to a router that begins: what is paused. */
  | ({ readonly type: "paused" } & Pauses)
  /** The supervisor has read the files again: the number of tasks, or why nothing was taken. */
  | {
      readonly type: "reloaded";
      readonly request: number;
      readonly tasks: number | null;
      readonly failure: string | null;
    }
  /** The supervisor: the pause of this request, or its end, is on the disk (null), or why not. */
  | { readonly type: "pauseKept"; readonly request: number; readonly failure: string | null }
  /** The supervisor: the stop of this request is on the disk (null), or the reason why not. */
  | { readonly type: "latched"; readonly request: number; readonly failure: string | null }
  /** The supervisor: the reset of this request does not come. */
  | { readonly type: "resetRefused"; readonly request: number; readonly why: string }
  /** The supervisor has died, and all its workers with it. */
  | { readonly type: "orphaned" }
  /** Accept nothing more, and end the jobs that no worker has. */
  | { readonly type: "drain" }
  /** End the running jobs, too. */
  | { readonly type: "abort" }
  /** Time has passed. */
  | { readonly type: "tick" };

export interface PauseChange {
  readonly of: "task" | "schedule";
  readonly name: string;
  /**
   * seconds since 1970; null ends the pause. The end of a task's pause ends its quarantine, too.
   */
  readonly since: number | null;
  readonly request: number;
}

export type Effect =
  | { readonly to: "requestor"; readonly requestor: Requestor; readonly frames: readonly Frame[] }
  | {
      readonly to: "worker";
      /** Routing id of the worker. */
      readonly key: string;
      readonly header: RouterHeader;
      readonly bodies: readonly Frame[];
    }
  /** A value of one of the engine's own topics, for a data worker to publish. */
  | {
      readonly to: "event";
      /** Routing id of the data worker. */
      readonly key: string;
      readonly topic: RouterTopic;
      /** a DATA frame */
      readonly body: string;
      /** Number of events of the topic that were lost right before it. */
      readonly lost: number;
    }
  /** Send the lines of the log of all processes from now on, or send no more of them. */
  | { readonly to: "supervisor"; readonly type: "watchLog"; readonly isWatched: boolean }
  /** After `drain`: nothing runs and nothing waits any more. */
  | { readonly to: "supervisor"; readonly type: "drained" }
  /** Kill a worker that does not let go of a job. */
  | { readonly to: "supervisor"; readonly type: "kill"; readonly pid: number; readonly why: string }
  /**
   * Put an emergency stop, which holds here already, on the disk: `latched` answers by its number.
   */
  | { readonly to: "supervisor"; readonly type: "estop"; readonly stopped: Stopped; readonly request: number }
  /** End the emergency stop: `stopped` or `resetRefused` answers. */
  | { readonly to: "supervisor"; readonly type: "reset"; readonly request: number }
  /** Nobody waits for the resets so far any more. */
  | { readonly to: "supervisor"; readonly type: "withdrawReset"; readonly stopped: Stopped | null }
  /** Keep a pause, which begins here already, or its end: `pauseKept` answers. */
  | ({ readonly to: "supervisor"; readonly type: "pause" } & PauseChange)
  /** Read the task files and authorized keys again: `reloaded` answers. */
  | { readonly to: "supervisor"; readonly type: "reload"; readonly request: number }
  | { readonly to: "log"; readonly line: string };

export const toWorker = (key: string, header: RouterHeader, bodies: readonly Frame[] = []): Effect => ({
  to: "worker",
  key,
  header,
  bodies,
});

/** Nobody waits for a publication, so its loss goes to the log, once for each kind of loss. */
export const publicationLost = (publisher: string, topic: string, why: string): Effect => ({
  to: "log",
  line: `Lost a publication of ${publisher} to topic ${JSON.stringify(topic)}: ${why}; further ones are only counted`,
});
