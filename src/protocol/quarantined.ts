import { quarantineWindowMs } from "../limits.ts";
import type { Quarantined } from "../process/lifecycle.ts";

/** What whoever asks for a task is told that is closed. */
export const quarantinedMessage = ({ task, since, deaths, how }: Quarantined): string =>
  `${task} is quarantined since ${new Date(since * 1000).toISOString()}: ${deaths} workers died of its jobs within ${quarantineWindowMs / 1000} s, ` +
  `the last of which ${how}; mend it, then run task-engine reload`;
