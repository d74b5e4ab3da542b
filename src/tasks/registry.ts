/**
 * The registry of trusted functions: the built-in tasks and those of the tasks folder, found once, at start. Nothing that
 * arrives later, in whatever message, becomes an import, a path or code.
 */
import { realpathSync } from "node:fs";
import { nameLengthMax, taskLoadMs, workerTasksMax } from "../limits.ts";
import { shorten, taskName } from "../protocol/frames.ts";
import { StartError } from "../transport/start-error.ts";
import { outliveOutput } from "../worker/stray.ts";
import { trustWithImports } from "./imports.ts";
import { builtInModules } from "./index.ts";
import { type Definition, parseDefinition } from "./policy.ts";
import type { RegisteredTask, Registry, TaskFunction } from "./task.ts";
import { passedOver, taskFilesIn } from "./task-files.ts";
import { isA, thrownMessage } from "./thrown.ts";
import { trustedRealPath } from "./trust.ts";

const prefix = "task_";
const namePattern = /^[A-Za-z0-9_.-]+$/;
const nameCharactersMax = nameLengthMax - prefix.length;

/**
 * Every task that this engine can run. `tasksDir` is the folder of the user's task files, null for none; `loadMsMax` is in
 * ms, for each file. Throws StartError, whose one line names the file and the export, for anything that is not as it should be.
 * @param onBroken is given what is wrong with one file, which is left out then, instead of its being thrown
 * @param onSkipped is given a line for each thing in the folder that may be taken for a task and is none
 */
export const loadRegistry = async (
  tasksDir: string | null,
  loadMsMax: number = taskLoadMs,
  onBroken: ((failure: StartError) => void) | null = null,
  onSkipped: ((line: string) => void) | null = null,
): Promise<Registry> => {
  const registry = new Map<string, RegisteredTask>();
  for (const [file, module] of Object.entries(builtInModules)) addTasks(registry, module, `built-in ${file}`);
  if (tasksDir === null) return registry;
  outliveOutput();
  const trusted = new Set<string>();
  const imported = new Set<string>();
  const withoutTask = new Map<string, object>();
  for (const file of taskFilesIn(tasksDir)) {
    try {
      trustWithImports(file, trusted, imported);
      const module = await loadModule(file, loadMsMax);
      if (addTasks(registry, module, file) === 0) withoutTask.set(file, module);
    } catch (failure) {
      if (onBroken === null || !(failure instanceof StartError)) throw failure;
      onBroken(failure);
    }
  }
  if (registry.size > workerTasksMax) {
    throw new StartError(`${tasksDir} defines ${registry.size} tasks; the limit is ${workerTasksMax}`);
  }
  if (onSkipped !== null) {
    for (const [file, module] of withoutTask)
      if (!imported.has(realpathSync(file))) onSkipped(aboutModule(file, module));
    passedOver(tasksDir, trusted).forEach(onSkipped);
  }
  return registry;
};

/** Of a file that no task file imports. */
const aboutModule = (file: string, module: object): string => {
  const names = Object.keys(module).slice(0, 5);
  const has = names.length === 0 ? "it exports nothing" : `it exports ${names.join(", ")}`;
  return `${file} has no task: ${has}, and a task is an export whose name begins with ${prefix}`;
};

const loadModule = async (file: string, msMax: number): Promise<object> => {
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`still loading after ${msMax} ms; is there an await without end?`)),
    msMax,
  );
  try {
    // By its real path, so that a file reached by two names is one module.
    return (await Promise.race([import(trustedRealPath(file)), overdue])) as object;
  } catch (thrown) {
    throw new StartError(`${place(thrown, file)}${shorten(thrownMessage(thrown))}`);
  } finally {
    clearTimeout(timer);
  }
};

/** Which file is at fault, and where in it if that is known: a syntax error may be in a file that it imports. */
const place = (thrown: unknown, file: string): string => {
  const position = isA(thrown, BuildMessage) ? thrown.position : null;
  if (position === null) return `${file} cannot be loaded: `;
  const where = `${position.file}:${position.line}:${position.column}`;
  return position.file === file ? `${where} cannot be loaded: ` : `${file} cannot be loaded: ${where}: `;
};

/** How many there are in it. */
const addTasks = (registry: Map<string, RegisteredTask>, module: object, file: string): number => {
  let count = 0;
  for (const [exportName, value] of Object.entries(module)) {
    if (!isTaskExport(exportName, value)) continue;
    const name = taskName(exportName);
    checkName(name, exportName, file);
    const other = registry.get(name);
    if (other !== undefined) {
      throw new StartError(
        `${file}: ${exportName} names the task ${name}, which ${other.file} defines already; rename one`,
      );
    }
    registry.set(name, { name, file, ...asTask(value, exportName, file) });
    count++;
  }
  return count;
};

/** A requestor may write TASK_ for task_, so a task may too. Other exports in capitals are constants: TASK_RETRIES. */
const isTaskExport = (exportName: string, value: unknown): boolean =>
  exportName.startsWith(prefix) ||
  (taskName(exportName) !== exportName &&
    (typeof value === "function" || (typeof value === "object" && value !== null && "run" in value)));

const checkName = (name: string, exportName: string, file: string): void => {
  if (!namePattern.test(name) || name.length > nameCharactersMax) {
    const rule = `1 to ${nameCharactersMax} characters of A-Z a-z 0-9 _ . - after ${prefix}`;
    throw new StartError(`${file}: the export ${exportName} cannot be a task's name; it needs ${rule}`);
  }
  // `task_x` and `x` are one name to whoever asks, so a task called `task_x` could be mistaken for `x`.
  if (taskName(name) !== name)
    throw new StartError(`${file}: the export ${exportName} has the prefix ${prefix} twice; take one away`);
};

const asTask = (value: unknown, exportName: string, file: string): Definition => {
  if (typeof value === "function") return { run: value as TaskFunction, check: null, onStop: null, policy: {} };
  if (typeof value !== "object" || value === null || !("run" in value)) {
    throw new StartError(
      `${file}: ${exportName} is neither a function nor an object with \`run\`; rename it if it is no task`,
    );
  }
  const definition = parseDefinition(value);
  if (typeof definition === "string") throw new StartError(`${file}: ${exportName} ${definition}`);
  return definition;
};
