/** Which policy of a task is in force: there is one, whoever serves the task, or half of its jobs would be held to another. */
import { abortGraceMs, onStopMs } from "../limits.ts";
import type { ReadyHeader } from "../protocol/backend.ts";
import type { Policy } from "../protocol/policy.ts";
import { idempotence } from "./outcome.ts";

/** A policy, and who has set it, for people. */
export interface PolicyInForce {
  readonly policy: Policy;
  readonly by: string;
}

/** Where a worker's policy of a task differs from the one in force, in one line; null where none does. */
export const conflictOf = (
  { tasks }: Pick<ReadyHeader, "tasks">,
  inForce: (task: string) => PolicyInForce | undefined,
): string | null => {
  for (const task of tasks) {
    const { name, ...policy } = typeof task === "string" ? { name: task } : task;
    const known = inForce(name);
    const differences = known === undefined ? [] : differencesOf(policy, known.policy);
    if (known === undefined || differences.length === 0) continue;
    return `READY.tasks: ${name} has ${differences.join(", ")} (set by ${known.by}); make them alike, or give one of them another name`;
  }
  return null;
};

/** `timeoutMs 3000 here and 5000 in force`, of each that differs. */
const differencesOf = (here: Policy, inForce: Policy): string[] => {
  const [ours, theirs] = [effective(here), effective(inForce)];
  return Object.entries(theirs).flatMap(([key, value]) => {
    const [our, their] = [ours[key as keyof Policy], value].map((it) => JSON.stringify(it) ?? "none");
    return our === their ? [] : [`${key} ${our} here and ${their} in force`];
  });
};

/** With what holds where nothing is said; what is said in two ways and means the same is alike. */
const effective = (policy: Policy) =>
  ({
    ttlMs: policy.ttlMs,
    timeoutMs: policy.timeoutMs,
    deadmanMs: policy.deadmanMs,
    graceMs: policy.graceMs ?? abortGraceMs,
    idempotent: idempotence(policy) ?? false,
    resources: [...new Set(policy.resources)].sort(),
    preemptible: policy.preemptible === true,
    allowedWhenStopped: policy.allowedWhenStopped === true,
    onStop: policy.onStop === true,
    onStopMs: policy.onStop === true ? (policy.onStopMs ?? onStopMs) : undefined,
  }) satisfies Record<keyof Policy, unknown>;
