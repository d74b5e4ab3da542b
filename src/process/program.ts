/** Command lines of this program, for those who start it in one of its roles. */
import { readlinkSync } from "node:fs";

/**
 * How this program is called, without a verb. When it runs from source, its main module stands between Bun and the verb, and Bun
 * is told not to fetch from the network, and run, what a task file imports and nobody has installed.
 */
export const ownProgram = (): readonly string[] => {
  const isCompiled = Bun.main.startsWith("/$bunfs/");
  return [runningImage(), ...(isCompiled ? [] : ["--no-install", Bun.main])];
};

/**
 * The program that this process runs, also where its file has been renamed, or replaced by that of another version: proc_pid_exe(5). By
 * its path where it has one, since a process is called by what it was started as.
 */
const runningImage = (): string => {
  const link = "/proc/self/exe";
  const path = readlinkSync(link);
  const isThere = path.startsWith("/") && !path.endsWith(" (deleted)");
  return isThere ? path : link;
};

/** Why something is made safe, as its task is told. */
export interface SafeReason {
  readonly code: "STOPPED" | "INTERRUPTED" | "SHUTTING_DOWN";
  readonly message: string;
}

/** Where a process finds its task files: a folder that must be there, or one that may be. Null for neither. */
export interface TasksFolder {
  readonly tasks: string | null;
  readonly tasksIfAny: string | null;
}

/** The same as flags of a role. */
export const tasksFlags = ({ tasks, tasksIfAny }: TasksFolder): readonly string[] => [
  ...(tasks === null ? [] : ["--tasks", tasks]),
  ...(tasksIfAny === null ? [] : ["--tasks-if-any", tasksIfAny]),
];

/** The verb that makes hardware safe in a process of its own. */
export const safeVerb = (folder: TasksFolder): readonly string[] => ["safe", ...tasksFlags(folder)];

/**
 * What it makes safe.
 * @param hook the task of `on-stop`, which is run as a whole; null for none
 * @param tasks those whose `onStop` is run
 */
export const safeFlags = (
  hook: string | null,
  tasks: readonly string[],
  { code, message }: SafeReason,
): readonly string[] => [
  ...(hook === null ? [] : ["--run", hook]),
  ...tasks.map((task) => `--on-stop=${task}`),
  `--code=${code}`,
  // It may be a stranger's words; there is one character that no program can be given.
  `--message=${message.replaceAll("\0", " ")}`,
];
