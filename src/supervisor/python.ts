/** The tasks of Python: whether there are any, and with what their processes are started. */
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { pythonFileBytesMax, workerTasksMax } from "../limits.ts";
import type { UnavailableTasks } from "../process/messages.ts";
import { StartError } from "../transport/start-error.ts";
import type { Children, PythonInUse } from "./children.ts";
import type { PythonRoles } from "./roles.ts";

/** Paths of the Python files in the folder of task files; none where it cannot be read. */
export const pythonFilesIn = ({ folder: { tasks, tasksIfAny } }: Pick<PythonRoles, "folder">): readonly string[] => {
  const folder = tasks ?? tasksIfAny;
  if (folder === null) return [];
  try {
    return readdirSync(folder)
      .filter((name) => /^[^.#].*\.py$/.test(name))
      .sort()
      .map((name) => join(folder, name));
  } catch {
    return [];
  }
};

/** Where an interpreter and task_engine.py are, or one line that says why they are not. */
interface Prepared {
  readonly path: string;
  readonly program: PythonInUse["program"];
  readonly commandOf: PythonInUse["commandOf"];
}

export const prepare = async ({ interpreter }: PythonRoles, children: Children): Promise<Prepared | string> => {
  // An engine without Python loads none of it.
  const { findInterpreter } = await import("../python/interpreter.ts");
  const { pythonCommand } = await import("../python/program.ts");
  try {
    const { path, program } = await findInterpreter(interpreter, children.environmentOf({ takesEnv: false }));
    return { path, program, commandOf: (role, descriptor) => pythonCommand(path, descriptor, role.argv) };
  } catch (failure) {
    if (!(failure instanceof StartError)) throw failure;
    return failure.message;
  }
};

/** Names that look like tasks in files that cannot be loaded. */
const taskDefinition = /^(?:async +)?def +task_(\w+)|^@task\b(?:.*\n)*?(?:async +)?def +(\w+)/gim;

export const unavailableIn = (files: readonly string[], why: string): UnavailableTasks => {
  const names = files.flatMap((file) =>
    [...beginningOf(file).matchAll(taskDefinition)].map(([, prefixed, decorated]) => prefixed ?? decorated ?? ""),
  );
  return { names: [...new Set(names.map((name) => name.replace(/^task_/i, "")))].slice(0, workerTasksMax), why };
};

/** Empty for a file that cannot be read. */
const beginningOf = (file: string): string => {
  try {
    const descriptor = openSync(file, "r");
    try {
      const bytes = Buffer.alloc(pythonFileBytesMax);
      return bytes.toString("utf8", 0, readSync(descriptor, bytes));
    } finally {
      closeSync(descriptor);
    }
  } catch {
    return "";
  }
};
