/** What the broker wants done. It does nothing itself: router.ts sends, and prints what it is told to print. */

import type { RouterHeader } from "../protocol/backend.ts";
import type { Stopped } from "../protocol/blocked.ts";
import type { Requestor } from "../protocol/envelope.ts";
import type { Frame } from "../protocol/frame.ts";

export type Effect =
  | { readonly to: "requestor"; readonly requestor: Requestor; readonly frames: readonly Frame[] }
  | {
      readonly to: "worker";
      /** The worker's routing id, as a string. */
      readonly key: string;
      readonly header: RouterHeader;
      readonly bodies: readonly Frame[];
    }
  /** Nothing runs and nothing waits any more, after `drain`. */
  | { readonly to: "supervisor"; readonly type: "drained" }
  /** A worker that does not let go of a job it was told to end. */
  | { readonly to: "supervisor"; readonly type: "kill"; readonly pid: number; readonly why: string }
  /** An emergency stop, which has been carried out here; the supervisor's word `latched` answers it by its number. */
  | { readonly to: "supervisor"; readonly type: "estop"; readonly stopped: Stopped; readonly request: number }
  /** A reset; the supervisor's word ends the stop. */
  | { readonly to: "supervisor"; readonly type: "reset"; readonly request: number }
  /** Nobody waits for the resets so far. */
  | { readonly to: "supervisor"; readonly type: "withdrawReset"; readonly stopped: Stopped | null }
  | { readonly to: "log"; readonly line: string };

export const toWorker = (key: string, header: RouterHeader, bodies: readonly Frame[] = []): Effect => ({
  to: "worker",
  key,
  header,
  bodies,
});

/** Nobody waits for what a task publishes, and so nobody else is told. Said once for each kind of loss. */
export const publicationLost = (publisher: string, topic: string, why: string): Effect => ({
  to: "log",
  line: `Lost a publication of ${publisher} to topic ${JSON.stringify(topic)}: ${why}; further ones are only counted`,
});
