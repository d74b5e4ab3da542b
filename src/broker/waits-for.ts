/** Why a job waits, for the person who reads of its end. */
import { pausedMessage } from "../protocol/blocked.ts";
import { resourcesOf } from "./job.ts";
import { lockedReason } from "./runaways.ts";
import type { Job } from "./state.ts";
import type { Tables } from "./tables.ts";

/** Words that follow others; empty if it is only not its turn. */
export const waitsFor = ({ blocks, resources, runaways }: Tables, job: Job): string => {
  const pause = blocks.pauseOf(job);
  if (pause !== undefined) return `: ${pausedMessage(pause)}`;
  const lock = runaways.before(job);
  if (lock !== null) return `: ${lockedReason(lock).message}`;
  const held = resourcesOf(job).flatMap((resource) => {
    const [holder] = resources.holdersOf(resource);
    return holder === undefined ? [] : [`${resource} is held by ${holder.name}`];
  });
  return held.length === 0 ? "" : `: ${held.join(", ")}`;
};
