/**
 * The roles that `serve` starts as processes of their own, as hidden verbs. Each loads its own module alone. A role that
 * cannot start tells its supervisor why and exits with 1; one that a person started by hand says so on stderr.
 */
import { type ArgsDef, defineCommand } from "citty";
import { dieWithSupervisor, hasSupervisor, onStopSignal, StartError, tellSupervisor } from "../lifecycle.ts";
import { outliveReaders } from "../supervisor/output.ts";
import { ExitError, UsageError } from "./exit.ts";

const host = { type: "string", required: true, valueHint: "address", description: "Address to listen on" } as const;
const portFlag = { type: "string", required: true, valueHint: "port", description: "Port to listen on" } as const;
const backendPort = { ...portFlag, description: "Port to listen on for workers" } as const;
const backend = {
  type: "string",
  required: true,
  valueHint: "endpoint",
  description: "Router's port for workers",
} as const;
const tasks = { type: "string", valueHint: "folder", description: "Folder of task files" } as const;
const jobsMax = { type: "string", valueHint: "count", description: "Jobs after which it ends" } as const;
const memoryMax = { type: "string", valueHint: "MiB", description: "Memory above which it ends" } as const;
const verbose = { type: "boolean", description: "Print each message as it passes" } as const;

export const routerCommand = defineCommand({
  meta: { name: "router", description: "The router of an engine; serve starts it" },
  args: { host, port: portFlag, "backend-port": backendPort, verbose } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runRouter } = await import("../router/router.ts");
      const [port, backendPort] = [portOf("--port", args.port), portOf("--backend-port", args["backend-port"])];
      return () => runRouter({ host: args.host, port, backendPort, verbose: args.verbose === true });
    }),
});

export const taskWorkerCommand = defineCommand({
  meta: { name: "task-worker", description: "A process that runs tasks; serve starts it" },
  args: {
    host,
    port: portFlag,
    backend,
    tasks,
    "jobs-max": jobsMax,
    "memory-max": memoryMax,
    verbose,
  } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runTaskWorker } = await import("../worker/task-worker.ts");
      const { host, backend, tasks: tasksDir = null } = args;
      const port = portOf("--port", args.port);
      const jobsMax = limitOf("--jobs-max", args["jobs-max"]);
      const memoryMax = limitOf("--memory-max", args["memory-max"]);
      return () =>
        runTaskWorker({
          host,
          port,
          backend,
          tasksDir,
          supervised: hasSupervisor(),
          jobsMax,
          memoryBytesMax: memoryMax === null ? null : memoryMax * 2 ** 20,
          onStop: onStopSignal,
          verbose: args.verbose === true,
        });
    }),
});

export const dataWorkerCommand = defineCommand({
  meta: { name: "data-worker", description: "A process that keeps and publishes data; serve starts it" },
  args: { host, port: portFlag, backend, verbose } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { runDataWorker } = await import("../worker/data-worker.ts");
      const { host, backend } = args;
      return () => runDataWorker({ host, port: portOf("--port", args.port), backend, verbose: args.verbose === true });
    }),
});

export const scanCommand = defineCommand({
  meta: { name: "scan", description: "Print all tasks with their policies as a JSON list; serve runs it first" },
  args: { tasks } satisfies ArgsDef,
  run: ({ args }) =>
    asRole(async () => {
      const { scanTasks } = await import("../worker/scan.ts");
      return () => scanTasks(args.tasks ?? null);
    }),
});

/** Runs one role in this process, and ends the process when the role has ended. `load` gives what runs it. */
const asRole = async (load: () => Promise<() => Promise<void>>): Promise<void> => {
  const run = await load();
  dieWithSupervisor();
  outliveReaders();
  // A terminal tells all of its processes; what is to be done about it the supervisor decides.
  for (const signal of ["SIGINT", "SIGHUP"] as const) if (hasSupervisor()) process.on(signal, ignore);
  try {
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

const ignore = (): void => undefined;

const portOf = (flag: string, text: string): number => {
  const port = /^\d{1,5}$/.test(text) ? Number(text) : 0;
  if (port >= 1 && port <= 65_535) return port;
  throw new UsageError(`${flag} must be a whole number from 1 to 65535, not ${JSON.stringify(text)}`);
};

/** null where it is not given: then there is no limit. */
const limitOf = (flag: string, text: string | undefined): number | null => {
  if (text === undefined) return null;
  if (/^[1-9]\d{0,11}$/.test(text)) return Number(text);
  throw new UsageError(`${flag} must be a whole number from 1 on, not ${JSON.stringify(text)}`);
};
