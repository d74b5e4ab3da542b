/** The scan of the task files, in a child: no user's code runs in the supervisor. */
import * as v from "valibot";
import { workerTasksMax } from "../limits.ts";
import { say } from "../process/log.ts";
import type { KnownTask } from "../process/messages.ts";
import type { Children } from "./children.ts";
import type { Roles } from "./roles.ts";

/** The supervisor does not know policies: it hands them on as they are. */
const tasksSchema = v.pipe(
  v.string(),
  v.parseJson(),
  v.array(v.looseObject({ name: v.string() })),
  v.maxLength(workerTasksMax),
);

/** All tasks, or one line that says why there are none. */
export const scanTasks = async (children: Children, { scan, hook }: Roles): Promise<readonly KnownTask[] | string> => {
  const child = children.spawn(scan);
  if (typeof child === "string") return child;
  const [output, { fatal, exitCode, words }] = await Promise.all([child.output(), children.endOf(child)]);
  if (fatal !== null) return fatal;
  if (exitCode !== 0) return `scan of the task files ${words}`;
  const { success, output: tasks } = v.safeParse(tasksSchema, output);
  if (!success) {
    return "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?";
  }
  if (hook === null || tasks.some(({ name }) => name === hook)) return tasks;
  return `no task ${JSON.stringify(hook)} is registered, which on-stop names; the robot could not be made safe`;
};

export const printTasks = (tasks: readonly KnownTask[]): void => {
  say("[REGISTERED-TASKS]:");
  for (const { name } of tasks) say(`[-] task_${name}`);
  say("------------------");
};
