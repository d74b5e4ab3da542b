/** The scan of the task files, in children: no user's code runs in the supervisor. */
import { closeSync } from "node:fs";
import * as v from "valibot";
import { sourcesMax, workerTasksMax } from "../limits.ts";
import { say, warn } from "../process/log.ts";
import type { EngineTasks, KnownTask, UnavailableTasks } from "../process/messages.ts";
import { scheduleMistake } from "../process/schedules-file.ts";
import { socketPathBytesMax } from "../transport/shm/unix.ts";
import { type Children, withoutTasks } from "./children.ts";
import { prepare, pythonFilesIn, unavailableIn } from "./python.ts";
import type { Role, Roles } from "./roles.ts";

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

type Source = v.InferOutput<typeof sourcesSchema>[number];

/** Definitions in the files of one language. */
interface Definitions {
  readonly tasks: readonly KnownTask[];
  readonly sources: readonly Source[];
}

/** Definitions in all task files. */
interface Scan extends EngineTasks {
  readonly sources: readonly Source[];
  /** Roles that have work only if the task files have some for them. */
  readonly wanted: readonly Role[];
}

/**
 * All tasks and sources, or one line that says why they are not known. From here on `children`
 * starts the processes of Python with what is found.
 */
export const scanTasks = async (children: Children, roles: Roles): Promise<Scan | string> => {
  const { python: before } = children;
  const scan = await scanBoth(children, roles);
  const { python: tried } = children;
  // The processes that run stay as they are.
  if (typeof scan === "string") children.python = before;
  else if (scan.python === undefined) children.python = null;
  else children.servePython();
  for (const it of new Set([before, tried])) if (it !== null && it !== children.python) closeSync(it.program);
  return scan;
};

const scanBoth = async (children: Children, roles: Roles): Promise<Scan | string> => {
  const [own, python] = await Promise.all([scanWith(children, roles.scan), scanPython(children, roles)]);
  if (typeof own === "string") return own;
  if (typeof python === "string") return python;
  const { names } = python;
  // A task of Python takes the place of a built-in one; in another task file its name is a mistake.
  const twice = own.tasks.map(({ name }) => name).filter((name) => names.has(name));
  const others = twice.length === 0 ? own : await scanWith(children, withoutTasks(roles.scan, twice));
  if (typeof others === "string") return others;
  for (const name of twice) say(`[ENGINE] The task ${name} of Python takes the place of the built-in one`);
  const tasks = sorted([...others.tasks, ...python.tasks]);
  const sources = sorted([...others.sources, ...python.sources]);
  for (const key of ["name", "topic"] as const) {
    const known = new Set(others.sources.map((source) => source[key]));
    const double = python.sources.find((source) => known.has(source[key]));
    if (double !== undefined) return `two sources have the ${key} ${double[key]}, one of them of Python; change one`;
  }
  if (tasks.length > workerTasksMax)
    return `the task files define ${tasks.length} tasks; the limit is ${workerTasksMax}`;
  const { hook } = roles;
  if (hook !== null && !tasks.some(({ name }) => name === hook)) {
    return `no task ${JSON.stringify(hook)} is registered, which on-stop names; the robot could not be made safe`;
  }
  const wanted = [
    ...(others.sources.length > 0 ? [roles.source] : []),
    ...(names.size > 0 ? roles.python.workers : []),
    ...(python.sources.length > 0 ? [roles.python.source] : []),
  ];
  const { interpreter, unavailable } = python;
  children.withoutTasks = twice;
  return {
    tasks,
    sources,
    wanted,
    ...(interpreter !== null && { python: { names: [...names], socket: roles.python.socket, interpreter } }),
    ...(unavailable !== null && { unavailable }),
  };
};

const sorted = <Named extends { readonly name: string }>(list: Named[]): Named[] =>
  list.sort((a, b) => (a.name < b.name ? -1 : 1));

const scanWith = async (children: Children, scan: Role): Promise<Definitions | string> => {
  const child = children.spawn(scan);
  if (typeof child === "string") return child;
  const [output, { fatal, exitCode, words }] = await Promise.all([child.output(), children.endOf(child)]);
  if (fatal !== null) return fatal;
  if (exitCode !== 0) return `scan of the task files ${words}`;
  const result = v.safeParse(scanSchema, output.trimEnd().split("\n"));
  if (result.success) return { tasks: result.output[0], sources: result.output[1] };
  return "scan of the task files ended without a list of tasks: does one of them end the process while it is loaded?";
};

interface PythonDefinitions extends Definitions {
  readonly names: ReadonlySet<string>;
  readonly interpreter: string | null;
  readonly unavailable: UnavailableTasks | null;
}

const nothing = { tasks: [], sources: [], names: new Set<string>(), interpreter: null, unavailable: null };

const scanPython = async (children: Children, { python: roles }: Roles): Promise<PythonDefinitions | string> => {
  const files = pythonFilesIn(roles);
  if (files.length === 0) return nothing;
  const isOff = roles.workers.length === 0;
  const prepared = isOff ? "--python-workers is 0" : await prepare(roles, children);
  if (typeof prepared === "string") {
    warn(`[ENGINE] Python files are left out: ${prepared}`);
    return { ...nothing, unavailable: unavailableIn(files, prepared) };
  }
  // Else the router could not listen for Python's workers, which would die again and again.
  const length = Buffer.byteLength(roles.socket);
  if (length > socketPathBytesMax) {
    const remedy = "name another folder with --state, or turn Python off by --python-workers 0";
    const why = `the path ${roles.socket} has ${length} bytes, and Linux allows ${socketPathBytesMax} for a socket`;
    return `no Python file can be served: ${why}; ${remedy}`;
  }
  const { path, ...start } = prepared;
  // A worker that is started meanwhile may run by this, too.
  children.python = { ...start, tasks: children.python?.tasks ?? new Set() };
  const output = await scanWith(children, roles.scan);
  const found = typeof output === "string" ? output : withoutFiles(output);
  if (typeof found === "string") return found;
  const names = new Set(found.tasks.map(({ name }) => name));
  if (names.size + found.sources.length === 0) return nothing;
  children.python = { ...start, tasks: names };
  return { ...found, names, interpreter: path, unavailable: null };
};

/**
 * Checks what Python cannot: cron expressions, which come with their file. Returns what is wrong
 * with one.
 */
const withoutFiles = (found: Definitions): Definitions | string => {
  const tasks: KnownTask[] = [];
  for (const { file, ...task } of found.tasks) {
    const mistake = task.schedule === undefined ? null : scheduleMistake(task.schedule);
    if (mistake !== null) return `${file}: ${task.name} has a wrong schedule: ${mistake}`;
    tasks.push(task);
  }
  return { ...found, tasks };
};

/**
 * Jobs that outlive the engine need the journal, and so does the history of what runs by itself.
 */
export const needsJournal = ({ tasks, schedules = [] }: EngineTasks): boolean =>
  schedules.length > 0 ||
  tasks.some(({ durable, schedule, everyMs }) => durable === true || schedule !== undefined || everyMs !== undefined);

/** The part of a scan that the router needs. */
export const tasksOf = (
  { tasks, python, unavailable }: Scan,
  schedules: EngineTasks["schedules"] = [],
): EngineTasks => ({
  tasks,
  ...(python !== undefined && { python }),
  ...(unavailable !== undefined && { unavailable }),
  ...(schedules.length > 0 && { schedules }),
});

export const printScan = ({ tasks, sources }: Scan): void => {
  say("[REGISTERED-TASKS]:");
  for (const { name } of tasks) say(`[-] task_${name}`);
  if (sources.length > 0) say("[REGISTERED-SOURCES]:");
  for (const { name, topic, everyMs } of sources) say(`[-] source_${name}: every ${everyMs} ms, to ${topic}`);
  say("------------------");
};
