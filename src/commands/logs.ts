/**
 * `logs` prints what jobs have written to their logs, and their errors: the last lines of a job, of
 * a task, or of all.
 *
 * Sends CONTROL `logs`; with `-f` it then follows `$engine/log` until Ctrl-C. Prints a line for
 * each: time, job, task, text; with `--json` a line of JSON.
 *
 * Exits with 0; 1 if nothing is known of the job or the engine refused; 2 for wrong usage; 3 if
 * there is no engine or no answer in time.
 */
import type { Client, JobLogLine } from "../client/client.ts";
import { logEventLateMs } from "../limits.ts";
import { printable } from "../process/streams.ts";
import { defineCommand } from "./command.ts";
import { endRequested, engineArgs, withEngine } from "./engine.ts";
import { printResult, stdoutClosed } from "./output.ts";
import { nameFrom } from "./values.ts";

export const logsCommand = defineCommand({
  meta: { name: "logs", description: "Print what jobs have written to their logs" },
  args: {
    job: { type: "string", valueHint: "id", description: "Only of this job" },
    task: { type: "string", valueHint: "name", description: "Only of jobs of this task" },
    follow: { type: "boolean", alias: "f", description: "Go on with the lines to come, until Ctrl-C" },
    ...engineArgs,
    json: { type: "boolean", description: "Print a line of JSON for each" },
  },
  run: async ({ args }) => {
    const job = args.job === undefined ? undefined : nameFrom(args.job, "--job");
    const task = args.task === undefined ? undefined : nameFrom(args.task, "--task");
    const print = (line: JobLogLine): Promise<void> =>
      printResult(args.json ? JSON.stringify(line) : printable(textOf(line)));
    await withEngine(args, async (engine) => {
      const printed = await engine.logs({ job, task });
      for (const line of printed) await print(line);
      if (!args.follow) return;
      const isMeant = (line: JobLogLine): boolean =>
        (job === undefined || line.job === job) &&
        (task === undefined || line.task === task) &&
        !takeSame(printed, line);
      await Promise.race([follow(engine, isMeant, print), endRequested(), stdoutClosed]);
    });
  },
});

const textOf = ({ at, job, task, level, text }: JobLogLine): string =>
  `${new Date(at * 1000).toISOString()}  ${job}  ${task}  ${level === "info" ? "" : `${level}: `}${text}`;

/**
 * An event may come later than the same line in the answer to `logs`, with the time of another
 * process. Takes that line out, so that a text which is written again is printed again.
 */
const takeSame = (printed: JobLogLine[], { at, job, text }: JobLogLine): boolean => {
  const index = printed.findIndex(
    (line) => line.job === job && line.text === text && Math.abs(line.at - at) * 1000 < logEventLateMs,
  );
  if (index >= 0) printed.splice(index, 1);
  return index >= 0;
};

const follow = async (
  engine: Client,
  isMeant: (line: JobLogLine) => boolean,
  print: (line: JobLogLine) => Promise<void>,
): Promise<void> => {
  await using subscription = engine.subscribe(["$engine/log"], {});
  for await (const { data } of subscription) {
    const line = lineOf(data);
    if (line !== null && isMeant(line)) await print(line);
  }
};

/** A worker's line begins with its name and that of the task; the lines of an error follow it. */
const lineOf = (data: unknown): JobLogLine | null => {
  const { at, job, level, text } = data as Partial<Record<keyof JobLogLine, unknown>>;
  if (typeof at !== "number" || typeof job !== "string" || typeof level !== "string" || typeof text !== "string") {
    return null;
  }
  const [, failed, task = "", rest = text] =
    /^\[[^\]]*\] (Task failed: )?([\w.-]+)(?: \([^)]*\))?: (.*)$/s.exec(text) ?? [];
  return { at, job, task, level: failed === undefined ? level : "error", text: rest };
};
