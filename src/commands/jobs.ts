/**
 * `jobs` lists jobs: those that wait and run, and the last ones that have ended, the newest first.
 *
 * Sends CONTROL `jobs`. Prints a line for each: id, state, task, when it was accepted, run time,
 * error; with `--json` a line of JSON for each.
 *
 * Exits with 0; 1 if the engine refused; 2 for wrong usage; 3 if there is no engine or no answer in
 * time.
 */
import type { JobReport } from "../client/control-jobs.ts";
import { delayMsMax, jobsPageMax } from "../limits.ts";
import { printable } from "../process/streams.ts";
import type { JobStateName } from "../protocol/control.ts";
import { defineCommand, UsageError } from "./command.ts";
import { engineArgs } from "./engine.ts";
import { fleetArgs, groupFlag, withJobs } from "./fleet.ts";
import { printResult } from "./output.ts";
import { durationFrom, nameFrom } from "./values.ts";

const statesOf = {
  failed: ["failed", "timed_out", "deadman", "stopped", "preempted", "interrupted", "expired", "quarantined"],
  running: ["dispatched", "running"],
  queued: ["delayed", "queued", "retrying"],
} as const satisfies Record<string, readonly JobStateName[]>;
const kinds = ["failed", "running", "queued", "dead"] as const;

export const jobsCommand = defineCommand({
  meta: { name: "jobs", description: "List the jobs that wait or run, and the last ones that have ended" },
  args: {
    task: { type: "string", valueHint: "name", description: "Only those of this task" },
    failed: { type: "boolean", description: "Only those that have failed" },
    running: { type: "boolean", description: "Only those that run" },
    queued: { type: "boolean", description: "Only those that wait" },
    dead: { type: "boolean", description: "Only durable ones that have failed for good: retry or discard them" },
    since: { type: "string", valueHint: "time", description: "Only those of the last so long, such as 10m or 1h" },
    ...engineArgs,
    ...fleetArgs,
    group: groupFlag,
    json: { type: "boolean", description: "Print a line of JSON for each job" },
  },
  run: async ({ args }) => {
    const chosen = kinds.filter((kind) => args[kind]);
    if (chosen.length > 1) throw new UsageError(`--${chosen[0]} and --${chosen[1]} exclude each other`);
    const [kind] = chosen;
    const jobs = await withJobs(args, (engine) =>
      engine.jobs({
        task: args.task === undefined ? undefined : nameFrom(args.task, "--task"),
        states: kind === undefined || kind === "dead" ? undefined : statesOf[kind],
        dead: kind === "dead" ? true : undefined,
        sinceMs: args.since === undefined ? undefined : durationFrom(args.since, "--since", delayMsMax),
        limit: jobsPageMax,
      }),
    );
    for (const job of jobs) await printResult(args.json ? JSON.stringify(job) : printable(lineOf(job)));
  },
});

const lineOf = ({ job, state, task, accepted, ms, code, message }: JobReport): string =>
  [
    `${job}  ${state.padEnd(10)}  ${new Date(accepted * 1000).toISOString()}  ${task}`,
    ...(ms === null ? [] : [`${ms.toFixed(1)} ms`]),
    ...(code === null ? [] : [`${code}: ${message ?? ""}`]),
  ].join("  ");
