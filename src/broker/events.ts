/** What the broker is told. */

import type { Arrival } from "../protocol/arrival.ts";
import type { BackendMessage, WorkerHeader } from "../protocol/backend.ts";
import type { Quarantined, Stopped } from "../protocol/blocked.ts";
import type { Access } from "../security/access.ts";
import type { KnownTask } from "./task-directory.ts";

export type BrokerEvent =
  | Arrival
  | {
      readonly type: "worker";
      readonly key: string;
      /** The name of the key that it was authenticated by; null where nobody is known. */
      readonly user: string | null;
      readonly message: BackendMessage<WorkerHeader>;
    }
  /** Who may what from now on. Until the first, nobody who is known may anything. */
  | { readonly type: "access"; readonly access: Access }
  /** The worker's connection is gone. */
  | { readonly type: "disconnected"; readonly key: string }
  /** The supervisor says that this process has died, and which job it had begun last (0: none). */
  | { readonly type: "gone"; readonly pid: number; readonly begun: number }
  /** The supervisor says which tasks there will be once the workers are there. */
  | { readonly type: "tasks"; readonly tasks: readonly KnownTask[]; readonly isUnsafe?: boolean }
  /** The supervisor says that the engine is in emergency stop, or no more. */
  | { readonly type: "stopped"; readonly stopped: Stopped | null }
  /** The supervisor says which tasks are closed, since their jobs kill workers. */
  | { readonly type: "quarantined"; readonly tasks: readonly Quarantined[] }
  /** The supervisor says whether this emergency stop is on the disk, or why not. */
  | { readonly type: "latched"; readonly request: number; readonly failure: string | null }
  /** And that a reset does not come. */
  | { readonly type: "resetRefused"; readonly request: number; readonly why: string }
  /** The supervisor has died, and all its workers with it. */
  | { readonly type: "orphaned" }
  /** Take nothing new; end what waits. */
  | { readonly type: "drain" }
  /** End what runs, too. */
  | { readonly type: "abort" }
  /** Time has passed. */
  | { readonly type: "tick" };
