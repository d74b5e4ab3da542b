/** Command lines by which this program is started in one of its roles. */
import { readlinkSync } from "node:fs";

/**
 * The program without a verb. From source, its main module stands between Bun and the verb; Bun
 * must not fetch from the network, and run, a package that a task file imports and nobody has
 * installed.
 */
export const ownProgram = (): readonly string[] => {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return [runningImage(), ...(isCompiled ? [] : ["--no-install", Bun.main])];
};

/** The running program, even if its file was renamed or replaced since: proc_pid_exe(5). */
const runningImage = (): string => {
  const link = "/proc/self/exe";
  const path = readlinkSync(link);
  // Its path is better, where it has one: `ps` shows it as the name of the process.
  return path.startsWith("/") && !path.endsWith(" (deleted)") ? path : link;
};

/** Folders of task files: `tasks` must exist, `tasksIfAny` may. Null for none. */
export interface TasksFolder {
  readonly tasks: string | null;
  readonly tasksIfAny: string | null;
}

/** The same as flags of a role. */
export const tasksFlags = ({ tasks, tasksIfAny }: TasksFolder): readonly string[] => [
  ...(tasks === null ? [] : ["--tasks", tasks]),
  ...(tasksIfAny === null ? [] : ["--tasks-if-any", tasksIfAny]),
];

/** The reason of a safe stop, as its task gets it. */
export interface SafeReason {
  readonly code: "STOPPED" | "INTERRUPTED" | "SHUTTING_DOWN";
  readonly message: string;
}

/** The verb of the safe process; `safeFlags` completes it. */
export const safeVerb = (folder: TasksFolder): readonly string[] => ["safe", ...tasksFlags(folder)];

/**
 * @param hook the task of `on-stop`, which is run as a whole; null for none
 * @param tasks of which `onStop` is run
 */
export const safeFlags = (
  hook: string | null,
  tasks: readonly string[],
  { code, message }: SafeReason,
): readonly string[] => [
  ...(hook === null ? [] : ["--run", hook]),
  ...tasks.map((task) => `--on-stop=${task}`),
  `--code=${code}`,
  // The message may come from a requestor, and no argument of a program can contain NUL.
  `--message=${message.replaceAll("\0", " ")}`,
];
