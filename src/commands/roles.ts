/**
 * The roles that `serve` starts as processes of their own, as hidden verbs. Each loads its own module alone. A role that
 * cannot start tells its supervisor why and exits with 1; one that a person started by hand says so on stderr.
 */
import type { ArgsDef } from "citty";
import { stopGraceMs } from "../limits.ts";
import { isFolder } from "../process/folders.ts";
import { dieWithSupervisor, hasSupervisor, onStop, outliveSupervisor, tellSupervisor } from "../process/supervised.ts";
import type { ErrorCode } from "../protocol/errors.ts";
import { isLoopback } from "../security/exposure.ts";
import { StartError } from "../transport/start-error.ts";
import { defineCommand } from "./command.ts";
import { ExitError, UsageError } from "./exit.ts";
import { listOf } from "./strict.ts";

const host = { type: "string", required: true, valueHint: "address", description: "Address to listen on" } as const;
const portFlag = { type: "string", required: true, valueHint: "port", description: "Port to listen on" } as const;
const backendPort = { ...portFlag, description: "Port to listen on for workers" } as const;
const backend = {
  type: "string",
  required: true,
  valueHint: "endpoint",
  description: "Router's port for workers, tcp://HOST:PORT, or socket, unix://PATH",
} as const;
const workSocket = {
  type: "string",
  valueHint: "path",
  description: "Socket to listen on for the engine's own workers",
} as const;
const folder = {
  tasks: { type: "string", valueHint: "folder", description: "Folder of task files" },
  "tasks-if-any": { type: "string", valueHint: "folder", description: "The same, if there is one" },
} as const;
const jobsMax = { type: "string", valueHint: "count", description: "Jobs after which it ends" } as const;
const memoryMax = { type: "string", valueHint: "MiB", description: "Memory above which it ends" } as const;
const hook = { type: "string", valueHint: "task", description: "Task that makes the robot safe" } as const;
const stopGrace = {
  type: "string",
  default: `${stopGraceMs}`,
  valueHint: "ms",
  description: "Time for running jobs to let go at an emergency stop",
} as const;
const verbose = { type: "boolean", description: "Print each message as it passes" } as const;

export const routerCommand = defineCommand({
  meta: { name: "router", description: "The router of an engine; serve starts it" },
  args: {
    host,
    port: portFlag,
    "backend-port": backendPort,
    "work-socket": workSocket,
    ...folder,
    run: hook,
    "stop-grace-ms": stopGrace,
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runRouter } = await import("../router/router.ts");
      mustBeSafe(args.host);
      const [port, backendPort] = [portOf("--port", args.port), portOf("--backend-port", args["backend-port"])];
      const {
        host,
        "work-socket": workSocket = null,
        tasks = null,
        "tasks-if-any": tasksIfAny = null,
        run: hook = null,
        verbose = false,
      } = args;
      const stopGraceMs = msOf("--stop-grace-ms", args["stop-grace-ms"]);
      return () =>
        runRouter({ host, port, backendPort, workSocket, folder: { tasks, tasksIfAny }, hook, stopGraceMs, verbose });
    }, outliveSupervisor),
});

export const taskWorkerCommand = defineCommand({
  meta: { name: "task-worker", description: "A process that runs tasks; serve starts it" },
  args: {
    host,
    port: portFlag,
    backend,
    ...folder,
    "jobs-max": jobsMax,
    "memory-max": memoryMax,
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runTaskWorker } = await import("../worker/task-worker.ts");
      const { host, backend } = args;
      mustBeSafe(host);
      const port = portOf("--port", args.port);
      const jobsMax = limitOf("--jobs-max", args["jobs-max"]);
      const memoryMax = limitOf("--memory-max", args["memory-max"]);
      return () =>
        runTaskWorker({
          host,
          port,
          backend,
          tasksDir: tasksDirFrom(args),
          supervised: hasSupervisor(),
          jobsMax,
          memoryBytesMax: memoryMax === null ? null : memoryMax * 2 ** 20,
          onLeave: (leave) => {
            onStop(leave);
            // A person may have one worker replaced.
            process.once("SIGTERM", leave);
          },
          verbose: args.verbose === true,
        });
    }),
});

export const dataWorkerCommand = defineCommand({
  meta: { name: "data-worker", description: "A process that keeps and publishes data; serve starts it" },
  args: { host, port: portFlag, backend, verbose } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runDataWorker } = await import("../data/data-worker.ts");
      const { host, backend } = args;
      mustBeSafe(host);
      return () => runDataWorker({ host, port: portOf("--port", args.port), backend, verbose: args.verbose === true });
    }),
});

export const scanCommand = defineCommand({
  meta: { name: "scan", description: "Print all tasks with their policies as a JSON list; serve runs it first" },
  args: folder satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      // What the other roles need is found out before anything of the engine runs, and in a process that keeps none of it.
      if (hasSupervisor()) await import("../transport/zmq/library.ts");
      const { scanTasks } = await import("../tasks/scan.ts");
      return () => scanTasks(tasksDirFrom(args));
    }),
});

export const safeCommand = defineCommand({
  meta: { name: "safe", description: "Bring hardware into its safe state; the engine runs it where no worker can" },
  args: {
    ...folder,
    run: { type: "string", valueHint: "task", description: "Task to run as a whole" },
    "on-stop": { type: "string", valueHint: "task...", description: "Task whose onStop to run; may be given again" },
    code: { type: "string", required: true, valueHint: "code", description: "Why, as one of the engine's codes" },
    message: { type: "string", required: true, valueHint: "text", description: "Why, for a person" },
  } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { makeSafe } = await import("../worker/safe.ts");
      const { run = null, message } = args;
      const tasksDir = tasksDirFrom(args);
      // Not held against the list: a slip of whoever starts this must not keep anything from being made safe.
      const code = args.code as ErrorCode;
      // A Ctrl-C is for whoever has started this; what it is about must be made safe all the same.
      for (const signal of ["SIGINT", "SIGHUP"] as const) process.on(signal, ignore);
      return async () => {
        const isSafe = await makeSafe({ tasksDir, run, onStop: listOf(args, "on-stop"), why: { code, message } });
        if (!isSafe) process.exit(1);
      };
    }),
});

/**
 * Runs one role in this process, and ends the process when the role has ended.
 * @param load gives what runs it
 * @param live how it lives under its supervisor
 */
const asRole = async (load: () => Promise<() => Promise<void>>, live = dieWithSupervisor): Promise<void> => {
  try {
    const run = await load().finally(live); // Why it cannot be loaded is told by the same channel.
    await run();
  } catch (failure) {
    if (!(failure instanceof StartError)) throw failure;
    if (!hasSupervisor()) throw new ExitError(failure.message, 1);
    tellSupervisor({ type: "fatal", message: failure.message });
    process.exit(1);
  }
  // Not left to the event loop: what a task has left open would keep it turning.
  process.exit(0);
};

interface FolderFlags {
  readonly tasks?: string | undefined;
  readonly "tasks-if-any"?: string | undefined;
}

/** null for the built-in tasks alone. */
const tasksDirFrom = ({ tasks, "tasks-if-any": ifAny }: FolderFlags): string | null =>
  tasks ?? (ifAny !== undefined && isFolder(ifAny) ? ifAny : null);

/** By hand there are no keys: they come from the supervisor, which has asked itself whether it may do without. */
const mustBeSafe = (host: string): void => {
  if (hasSupervisor() || isLoopback(host)) return;
  throw new UsageError(
    `--host ${host} can be reached from other machines, and what is not started by \`task-engine serve\` has no keys`,
  );
};

const ignore = (): void => undefined;

const portOf = (flag: string, text: string): number => {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new UsageError(`${flag} must be a whole number from 1 to 65535, not ${JSON.stringify(text)}`);
};

const msOf = (flag: string, text: string): number => {
  if (/^\d{1,9}$/.test(text)) return Number(text);
  throw new UsageError(`${flag} must be a whole number, not ${JSON.stringify(text)}`);
};

/** null where it is not given: then there is no limit. */
const limitOf = (flag: string, text: string | undefined): number | null => {
  if (text === undefined) return null;
  if (/^[1-9]\d{0,11}$/.test(text)) return Number(text);
  throw new UsageError(`${flag} must be a whole number from 1 on, not ${JSON.stringify(text)}`);
};
