/**
 * `job ID` shows what the engine knows of a job: state, times, worker, arguments, progress, error.
 *
 * Sends CONTROL `job` and, for a person, `logs`. Prints a line for each thing that is known, and
 * the last lines of its log; with `--json` the answer to the former.
 *
 * Exits with 0; 1 if nothing is known of it (any more) or the engine refused; 2 for wrong usage; 3
 * if there is no engine or no answer in time.
 */
import type { JobReport } from "../client/control-jobs.ts";
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { engineArgs } from "./engine.ts";
import { fleetArgs, groupFlag, withJobs } from "./fleet.ts";
import { printResult } from "./output.ts";
import { nameFrom } from "./values.ts";

export const jobCommand = defineCommand({
  meta: { name: "job", description: "Show what is known of a job" },
  args: {
    id: { type: "positional", required: true, description: "Its id, which send --detach and jobs print" },
    ...engineArgs,
    ...fleetArgs,
    group: groupFlag,
    json: { type: "boolean", description: "Print it as JSON" },
  },
  run: async ({ args }) => {
    const id = nameFrom(args.id, "ID");
    await withJobs(args, async (jobs) => {
      const job = await jobs.job(id);
      if (args.json) return printResult(JSON.stringify(job));
      for (const line of linesOf(job)) await printResult(printable(line));
      if (jobs.logs === undefined) return;
      for (const { at, level, text } of (await jobs.logs({ job: id })).slice(-shownLinesMax)) {
        const line = `${dateOf(at)}  ${level === "info" ? "" : `${level}: `}${text}`;
        await printResult(printable(`${"log:".padEnd(10)} ${line}`));
      }
    });
  },
});

/** `logs --job` has them all. */
const shownLinesMax = 20;

const linesOf = (job: JobReport): string[] =>
  Object.entries({
    job: job.job,
    task: job.task,
    state: job.state,
    error: job.code === null ? null : `${job.code}: ${job.message ?? ""}`,
    args: job.args === null ? null : JSON.stringify(job.args),
    kwargs: job.kwargs === null || JSON.stringify(job.kwargs) === "{}" ? null : JSON.stringify(job.kwargs),
    requestor: job.requestor,
    serial: job.serial === "" ? null : job.serial,
    accepted: dateOf(job.accepted),
    due: dateOf(job.due),
    started: dateOf(job.started),
    ended: dateOf(job.ended),
    "run time": job.ms === null ? null : `${job.ms.toFixed(1)} ms`,
    worker: job.worker,
    tries: job.tries === 0 ? null : `${job.tries} failed before`,
    progress: job.progress === null ? null : JSON.stringify(job.progress),
  }).flatMap(([name, value]) => (value === null ? [] : [`${`${name}:`.padEnd(10)} ${value}`]));

/** @param seconds since 1970 */
const dateOf = (seconds: number | null): string | null =>
  seconds === null ? null : new Date(seconds * 1000).toISOString();
