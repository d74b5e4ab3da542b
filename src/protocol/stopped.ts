/** What whoever asks for a task is told in an emergency stop, by the router and at a worker's own port alike. */
import type { Stopped } from "../process/lifecycle.ts";

export const stoppedMessage = ({ reason, since }: Stopped): string => {
  const at = new Date(since * 1000);
  // It comes from a file that anybody may have written: a time that is none must not keep an engine from being stopped.
  const when = Number.isNaN(at.getTime()) ? "a time that is not known" : at.toISOString();
  return `in emergency stop since ${when}${reason === "" ? "" : ` (${reason})`}; task-engine reset ends it`;
};
