/**
 * The hidden verbs: the roles that `serve` starts as processes of their own. Each loads only its
 * own modules.
 *
 * A role exits with 0 after its end, 1 if it cannot start, 2 for wrong flags. It tells its
 * supervisor why it cannot start; without one (a person started it) it prints that on stderr.
 */
import type { ArgsDef } from "citty";
import * as limits from "../limits.ts";
import { isFolder } from "../process/folders.ts";
import {
  dieWithSupervisor,
  hasSupervisor,
  onLeaveRequest,
  outliveSupervisor,
  tellSupervisor,
} from "../process/supervised.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { isLoopback } from "../security/exposure.ts";
import { StartError } from "../transport/start-error.ts";
import { listOf } from "./args.ts";
import { defineCommand, ExitError, UsageError } from "./command.ts";
import { numberFrom } from "./values.ts";

const host = { type: "string", required: true, valueHint: "address", description: "Address to listen on" } as const;
const port = { type: "string", required: true, valueHint: "port", description: "Port to listen on" } as const;
const backend = {
  type: "string",
  required: true,
  valueHint: "endpoint",
  description: "Router's port for workers, tcp://HOST:PORT, or socket, unix://PATH",
} as const;
const folderArgs = {
  tasks: { type: "string", valueHint: "folder", description: "Folder of task files" },
  "tasks-if-any": { type: "string", valueHint: "folder", description: "The same, if there is one" },
} as const;
const pythonTask = {
  type: "string",
  valueHint: "task...",
  description: "Task that a Python file defines, and none here; may be given again",
} as const;
const number = { type: "string", valueHint: "number" } as const;
const verbose = { type: "boolean", description: "Print each message as it passes" } as const;

export const routerCommand = defineCommand({
  meta: { name: "router", description: "The router of an engine; serve starts it" },
  args: {
    host,
    port,
    "backend-port": { ...port, description: "Port to listen on for workers" },
    "work-socket": {
      type: "string",
      valueHint: "path",
      description: "Socket to listen on for the engine's own workers",
    },
    "front-socket": {
      type: "string",
      valueHint: "path",
      description: "Socket to listen on for local programs, in an engine with keys",
    },
    ...folderArgs,
    run: { type: "string", valueHint: "task", description: "Task that makes the robot safe" },
    "stop-grace-ms": {
      type: "string",
      default: `${limits.stopGraceMs}`,
      valueHint: "ms",
      description: "Time for running jobs to let go at an emergency stop",
    },
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runRouter } = await import("../router/router.ts");
      const options = {
        host: hostFrom(args.host),
        port: portFrom("--port", args.port),
        backendPort: portFrom("--backend-port", args["backend-port"]),
        workSocket: args["work-socket"] ?? null,
        frontSocket: args["front-socket"] ?? null,
        folder: { tasks: args.tasks ?? null, tasksIfAny: args["tasks-if-any"] ?? null },
        hook: args.run ?? null,
        stopGraceMs: numberFrom(args["stop-grace-ms"], "--stop-grace-ms", 0, limits.graceMsMax),
        verbose: args.verbose === true,
      };
      return () => runRouter(options);
    }, outliveSupervisor),
});

export const taskWorkerCommand = defineCommand({
  meta: { name: "task-worker", description: "A process that runs tasks; serve starts it" },
  args: {
    host,
    port,
    backend,
    ...folderArgs,
    "python-task": pythonTask,
    "jobs-max": { type: "string", valueHint: "count", description: "Jobs after which it ends" },
    "memory-max": { type: "string", valueHint: "MiB", description: "Memory above which it ends" },
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runTaskWorker } = await import("../worker/task-worker.ts");
      const { "jobs-max": jobsMax, "memory-max": memoryMax } = args;
      const options = {
        host: hostFrom(args.host),
        port: portFrom("--port", args.port),
        backend: args.backend,
        tasksDir: tasksDirFrom(args),
        pythonTasks: listOf(args, "python-task"),
        supervised: hasSupervisor(),
        jobsMax: jobsMax === undefined ? null : numberFrom(jobsMax, "--jobs-max", 1, limits.workerJobsMax),
        memoryBytesMax:
          memoryMax === undefined
            ? null
            : numberFrom(memoryMax, "--memory-max", 1, limits.workerMemoryMibMax) * 2 ** 20,
        onLeave: (leave: () => void) => {
          onLeaveRequest(leave);
          // A person may replace one worker with it.
          process.once("SIGTERM", leave);
        },
        verbose: args.verbose === true,
      };
      return () => runTaskWorker(options);
    }),
});

export const dataWorkerCommand = defineCommand({
  meta: { name: "data-worker", description: "A process that keeps and publishes data; serve starts it" },
  args: {
    host,
    port,
    "stream-port": { ...port, description: "Port to listen on for publishers and subscribers of 0.3" },
    "stream-socket": {
      type: "string",
      valueHint: "path",
      description: "Socket to listen on for local programs, in an engine with keys",
    },
    "python-socket": {
      type: "string",
      valueHint: "path",
      description: "Socket to listen on for the engine's own workers of Python",
    },
    "plain-port": { ...number, description: "Port to listen on for publishers that are a plain PUB socket" },
    "history-ms": { ...number, default: `${limits.historyMs}`, description: "Time for which it keeps values, ms" },
    "history-bytes": { ...number, default: `${limits.historyBytesMax}`, description: "Memory for all values" },
    "data-bytes-max": { ...number, default: `${limits.dataBytesMax}`, description: "Size of the largest value" },
    backend,
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runDataWorker } = await import("../data/data-worker.ts");
      const { "plain-port": plainPort } = args;
      const options = {
        host: hostFrom(args.host),
        port: portFrom("--port", args.port),
        streamPort: portFrom("--stream-port", args["stream-port"]),
        streamSocket: args["stream-socket"] ?? null,
        pythonSocket: args["python-socket"] ?? null,
        plainPort: plainPort === undefined ? null : portFrom("--plain-port", plainPort),
        historyMs: numberFrom(args["history-ms"], "--history-ms", 0, limits.historyMsMax),
        historyBytes: numberFrom(
          args["history-bytes"],
          "--history-bytes",
          limits.historyBytesMin,
          limits.historyBytesMaxMax,
        ),
        dataBytesMax: numberFrom(args["data-bytes-max"], "--data-bytes-max", 1, limits.dataBytesMaxMax),
        backend: args.backend,
        verbose: args.verbose === true,
      };
      return () => runDataWorker(options);
    }),
});

export const sourceWorkerCommand = defineCommand({
  meta: { name: "source-worker", description: "A process that calls sources at their rates; serve starts it" },
  args: { backend, ...folderArgs } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runSourceWorker } = await import("../worker/source-worker.ts");
      const options = { backend: args.backend, tasksDir: tasksDirFrom(args) };
      return () => runSourceWorker(options);
    }),
});

export const journalCommand = defineCommand({
  meta: { name: "journal", description: "A process that keeps durable jobs on the disk; serve starts it" },
  args: {
    backend,
    folder: { type: "string", required: true, valueHint: "folder", description: "Folder of the journal" },
  } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runJournal } = await import("../journal/journal-process.ts");
      const options = { backend: args.backend, folder: args.folder };
      return () => runJournal(options);
    }),
});

export const scanCommand = defineCommand({
  meta: { name: "scan", description: "Print all tasks with their policies as a JSON list; serve runs it first" },
  args: { ...folderArgs, "python-task": pythonTask } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      // A machine without libzmq's needs is found out here, before any role of the engine runs.
      if (hasSupervisor()) await import("../transport/zmq/library.ts");
      const { runScan } = await import("../tasks/scan.ts");
      return () => runScan(tasksDirFrom(args), listOf(args, "python-task"));
    }),
});

export const safeCommand = defineCommand({
  meta: { name: "safe", description: "Bring hardware into its safe state; the engine runs it where no worker can" },
  args: {
    ...folderArgs,
    run: { type: "string", valueHint: "task", description: "Task to run as a whole" },
    "on-stop": { type: "string", valueHint: "task...", description: "Task whose onStop to run; may be given again" },
    code: { type: "string", required: true, valueHint: "code", description: "Why, as one of the engine's codes" },
    message: { type: "string", required: true, valueHint: "text", description: "Why, for a person" },
  } satisfies ArgsDef,
  run: ({ args }) =>
    runRole(async () => {
      const { runSafeProcess } = await import("../worker/safe-process.ts");
      // The code is not checked: a wrong one must not prevent a safe stop.
      const why = { code: args.code as ErrorCode, message: args.message };
      const options = { tasksDir: tasksDirFrom(args), run: args.run ?? null, onStop: listOf(args, "on-stop"), why };
      // Ctrl-C is meant for the engine; the safe stop must finish.
      for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, () => undefined);
      return async () => {
        if (!(await runSafeProcess(options))) process.exit(1);
      };
    }),
});

/**
 * Runs one role in this process, and ends the process after it.
 * @param load loads the modules, checks the flags, and returns the function that runs the role
 * @param bindToSupervisor sets what happens to this process when its supervisor dies
 */
export const runRole = async (
  load: () => Promise<() => Promise<void>>,
  bindToSupervisor = dieWithSupervisor,
): Promise<void> => {
  try {
    // The supervisor is also told why a role cannot be loaded.
    const run = await load().finally(bindToSupervisor);
    await run();
  } catch (failure) {
    if (!(failure instanceof StartError)) throw failure;
    if (!hasSupervisor()) throw new ExitError(failure.message, 1);
    tellSupervisor({ type: "fatal", message: failure.message });
    process.exit(1);
  }
  // A handle that a task has left open would keep the event loop alive.
  process.exit(0);
};

interface FolderFlags {
  readonly tasks?: string | undefined;
  readonly "tasks-if-any"?: string | undefined;
}

/** Returns null for the built-in tasks alone. */
const tasksDirFrom = ({ tasks, "tasks-if-any": ifAny }: FolderFlags): string | null =>
  tasks ?? (ifAny !== undefined && isFolder(ifAny) ? ifAny : null);

/**
 * Throws UsageError for an address that other machines can reach, if there is no supervisor: keys
 * come from the supervisor, which has checked whether the engine may do without.
 */
const hostFrom = (address: string): string => {
  if (hasSupervisor() || isLoopback(address)) return address;
  throw new UsageError(
    `--host ${address} can be reached from other machines, and roles without \`task-engine serve\` have no keys`,
  );
};

const portFrom = (flag: string, text: string): number => numberFrom(text, flag, 1, 65_535);
