/** Jobs as the broker keeps them, for tests of its parts. */
import { createJob, taskQueue } from "../../src/broker/job.ts";
import type { Job } from "../../src/broker/state.ts";
import type { TaskOptions } from "../../src/protocol/policy.ts";

let nextId = 1;

export const makeJob = (
  more: { readonly name?: string; readonly at?: number; readonly options?: TaskOptions; readonly bytes?: number } = {},
): Job => {
  const { name = "count", at = 0, options = {}, bytes = 1 } = more;
  const draft = {
    kind: "task",
    name,
    queue: taskQueue(name),
    body: "x".repeat(bytes),
    bytes,
    options,
    policy: {},
  } as const;
  return createJob(draft, nextId++, { request: null, part: 0 }, at);
};
