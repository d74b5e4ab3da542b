/**
 * The registry of trusted functions: the built-in tasks, and the tasks and sources of the tasks
 * folder, loaded once, at start. Nothing that arrives later, in any message, becomes an import, a
 * path or code.
 */
import { realpathSync } from "node:fs";
import { sourcesMax, taskLoadMs, workerTasksMax } from "../limits.ts";
import { ignoreOutputErrors } from "../process/streams.ts";
import { shorten } from "../protocol/errors.ts";
import { StartError } from "../transport/start-error.ts";
import * as count from "./count.ts";
import { taskPrefix, tasksOf } from "./definition.ts";
import { sourcesOf } from "./source.ts";
import type { RegisteredSource, RegisteredTask, Registry } from "./task.ts";
import { passedOver, taskFilesIn } from "./task-files.ts";
import { isA, thrownMessage } from "./thrown.ts";
import { trustedRealPath, trustWithImports } from "./trust.ts";

interface LoadOptions {
  /** ms, for each file */
  readonly loadMsMax?: number;
  /** Gets the error of a broken file, which is then left out. Without it the error is thrown. */
  readonly onBroken?: (failure: StartError) => void;
  /** Names of tasks that Python's files define: none of these is built in, or in a file here. */
  readonly pythonTasks?: ReadonlySet<string>;
  /** Gets a line for each thing in the folder that looks like a task and is none. */
  readonly onSkipped?: (line: string) => void;
}

/** All that the task files define. */
interface Loaded {
  readonly tasks: Registry;
  readonly sources: readonly RegisteredSource[];
}

/** As `loadAll`, without the sources. */
export const loadRegistry = async (tasksDir: string | null, options: LoadOptions = {}): Promise<Registry> =>
  (await loadAll(tasksDir, options)).tasks;

/**
 * Loads every task that this engine can run, and every source.
 * @param tasksDir the folder of the user's task files; null for none
 * @throws StartError, whose one line names the file and the export at fault
 */
export const loadAll = async (tasksDir: string | null, options: LoadOptions = {}): Promise<Loaded> => {
  const { loadMsMax = taskLoadMs, onBroken, onSkipped, pythonTasks = new Set() } = options;
  const registry = new Map<string, RegisteredTask>();
  const sources: RegisteredSource[] = [];
  addTasks(registry, count, builtIn);
  for (const name of pythonTasks) registry.delete(name);
  if (tasksDir === null) return { tasks: registry, sources };
  ignoreOutputErrors();
  const trusted = new Set<string>();
  const imported = new Set<string>();
  const withoutTask = new Map<string, object>();
  for (const file of taskFilesIn(tasksDir)) {
    try {
      trustWithImports(file, trusted, imported);
      const module = await loadModule(file, loadMsMax);
      refuseTwice(module, file, pythonTasks);
      const found = addTasks(registry, module, file) + addSources(sources, module, file);
      if (found === 0) withoutTask.set(file, module);
    } catch (failure) {
      if (onBroken === undefined || !(failure instanceof StartError)) throw failure;
      onBroken(failure);
    }
  }
  if (registry.size > workerTasksMax) {
    throw new StartError(`${tasksDir} defines ${registry.size} tasks; the limit is ${workerTasksMax}`);
  }
  if (sources.length > sourcesMax) {
    throw new StartError(`${tasksDir} defines ${sources.length} sources; the limit is ${sourcesMax}`);
  }
  if (onSkipped !== undefined) {
    const { file } = registry.get("count") ?? {};
    if (file !== undefined && file !== builtIn)
      onSkipped(`${file}: its task count takes the place of the built-in one`);
    for (const [file, module] of withoutTask)
      if (!imported.has(realpathSync(file))) onSkipped(describeModule(file, module));
    passedOver(tasksDir, trusted).forEach(onSkipped);
  }
  return { tasks: registry, sources };
};

const builtIn = "built-in count.ts";

const refuseTwice = (module: object, file: string, pythonTasks: ReadonlySet<string>): void => {
  for (const [exportName, { name }] of tasksOf(module, file)) {
    if (!pythonTasks.has(name)) continue;
    throw new StartError(
      `${file}: ${exportName} names the task ${name}, which a Python file defines already; rename one`,
    );
  }
};

/**
 * A task of the user takes the place of a built-in one. Returns the number of tasks in the file.
 */
const addTasks = (registry: Map<string, RegisteredTask>, module: object, file: string): number => {
  let count = 0;
  for (const [exportName, task] of tasksOf(module, file)) {
    const other = registry.get(task.name);
    if (other !== undefined && other.file !== builtIn) {
      throw new StartError(
        `${file}: ${exportName} names the task ${task.name}, which ${other.file} defines already; rename one`,
      );
    }
    registry.set(task.name, task);
    count++;
  }
  return count;
};

/** Returns the number of sources in the file. */
const addSources = (sources: RegisteredSource[], module: object, file: string): number => {
  const before = sources.length;
  for (const [exportName, source] of sourcesOf(module, file)) {
    const other = sources.find(({ name, topic }) => name === source.name || topic === source.topic);
    if (other !== undefined) {
      const what = other.name === source.name ? `the name ${source.name}` : `the topic ${source.topic}`;
      const whose = `source_${other.name}${other.file === file ? "" : ` of ${other.file}`}`;
      throw new StartError(`${file}: ${exportName} has ${what}, as has ${whose}; change one of them`);
    }
    sources.push(source);
  }
  return sources.length - before;
};

const loadModule = async (file: string, msMax: number): Promise<object> => {
  const { promise: overdue, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(
    () => reject(new Error(`still loading after ${msMax} ms; is there an await without end?`)),
    msMax,
  );
  try {
    // The real path makes a file that is reached by two names one module.
    return (await Promise.race([import(trustedRealPath(file)), overdue])) as object;
  } catch (thrown) {
    throw new StartError(`${place(thrown, file)}${shorten(thrownMessage(thrown))}`);
  } finally {
    clearTimeout(timer);
  }
};

/** The file at fault, and the place of a syntax error, which may be in a file that it imports. */
const place = (thrown: unknown, file: string): string => {
  const position = isA(thrown, BuildMessage) ? thrown.position : null;
  if (position === null) return `${file} cannot be loaded: `;
  const where = `${position.file}:${position.line}:${position.column}`;
  return position.file === file ? `${where} cannot be loaded: ` : `${file} cannot be loaded: ${where}: `;
};

/** Describes a file without a task that no task file imports. */
const describeModule = (file: string, module: object): string => {
  const names = Object.keys(module).slice(0, 5);
  const has = names.length === 0 ? "it exports nothing" : `it exports ${names.join(", ")}`;
  return `${file} has no task: ${has}, and a task is an export whose name begins with ${taskPrefix}`;
};
