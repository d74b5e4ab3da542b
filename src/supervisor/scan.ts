/** The scan of the task files, in a child: no user's code runs in the supervisor. */
import * as v from "valibot";
import { sourcesMax, workerTasksMax } from "../limits.ts";
import { say } from "../process/log.ts";
import type { KnownTask } from "../process/messages.ts";
import type { Children } from "./children.ts";
import type { Roles } from "./roles.ts";

/** The supervisor does not know policies: it hands them on as they are. */
const tasksSchema = v.pipe(v.array(v.looseObject({ name: v.string() })), v.maxLength(workerTasksMax));
const sourcesSchema = v.pipe(
  v.array(v.object({ name: v.string(), topic: v.string(), everyMs: v.number() })),
  v.maxLength(sourcesMax),
);
/** The lines of a scan: the tasks, and the sources if there are any. */
const scanSchema = v.tuple([
  v.pipe(v.string(), v.parseJson(), tasksSchema),
  v.optional(v.pipe(v.string(), v.parseJson(), sourcesSchema), "[]"),
]);

/** What the task files define. */
interface Scan {
  readonly tasks: readonly KnownTask[];
  readonly sources: v.InferOutput<typeof sourcesSchema>;
}

/** All tasks and sources, or one line that says why they are not known. */
export const scanTasks = async (children: Children, { scan, hook }: Roles): Promise<Scan | string> => {
  const child = children.spawn(scan);
  if (typeof child === "string") return child;
  const [output, { fatal, exitCode, words }] = await Promise.all([child.output(), children.endOf(child)]);
  if (fatal !== null) return fatal;
  if (exitCode !== 0) return `scan of the task files ${words}`;
  const result = v.safeParse(scanSchema, output.trimEnd().split("\n"));
  if (!result.success) {
    return "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?";
  }
  const [tasks, sources] = result.output;
  if (hook === null || tasks.some(({ name }) => name === hook)) return { tasks, sources };
  return `no task ${JSON.stringify(hook)} is registered, which on-stop names; the robot could not be made safe`;
};

/** A task whose jobs outlive the engine needs the journal. */
export const needsJournal = ({ tasks }: Scan): boolean => tasks.some(({ durable }) => durable === true);

export const printScan = ({ tasks, sources }: Scan): void => {
  say("[REGISTERED-TASKS]:");
  for (const { name } of tasks) say(`[-] task_${name}`);
  if (sources.length > 0) say("[REGISTERED-SOURCES]:");
  for (const { name, topic, everyMs } of sources) say(`[-] source_${name}: every ${everyMs} ms, to ${topic}`);
  say("------------------");
};
