/** The roles that run: one process for each, which is this program with another verb. */
import type { Config } from "../config.ts";
import { ownProgram, safeVerb, type TasksFolder, tasksFlags } from "../process/program.ts";
import { dataPortsPerWorker } from "../security/exposure.ts";
import {
  dataSocketPath,
  engineFolder,
  frontSocketPath,
  pythonDataSocketPath,
  pythonSocketPath,
  workSocketPath,
} from "../security/state-folders.ts";

/** Clients of the engine that the supervisor keeps: the engine works without them. */
type Apart = "gateway" | "link";

export interface Role {
  /** As printed. */
  readonly kind: "scan" | "safe" | "router" | "task worker" | "data worker" | "source worker" | "journal" | Apart;
  /** Unique among its kind, and the same after a restart. */
  readonly name: string;
  /** Verb and flags. */
  readonly argv: readonly string[];
  /** It gets the variables of `[env]`, since it loads task files, or starts a process that does. */
  readonly takesEnv: boolean;
  /** It runs task_engine.py, instead of this program. */
  readonly isPython?: true;
}

/** The same of Python, for `*.py` of the folder of task files. */
export interface PythonRoles {
  readonly folder: TasksFolder;
  /** Path of the interpreter; null for the default. */
  readonly interpreter: string | null;
  /** Path of the router's socket for these workers. */
  readonly socket: string;
  readonly scan: Role;
  /** They run while there are tasks of Python; empty if they are turned off. */
  readonly workers: readonly Role[];
  readonly source: Role;
  readonly safe: Role;
}

export interface Roles {
  /** One-shot, first of all: prints all tasks with their policies, and all sources, as JSON. */
  readonly scan: Role;
  readonly router: Role;
  readonly workers: readonly Role[];
  /** Calls the sources of the task files; it runs while there are any. */
  readonly source: Role;
  /** Keeps durable jobs; it runs once the task files have had one. */
  readonly journal: Role;
  /** Serves HTTP, as a client of the engine; null for none. */
  readonly gateway: Role | null;
  /** Offers the robot to a fleet, as a client of the engine; null for none. */
  readonly link: Role | null;
  /** One-shot: makes safe what further flags name. */
  readonly safe: Role;
  /** The task of the setting `on-stop`; null for none. */
  readonly hook: string | null;
  readonly python: PythonRoles;
}

/** A one-shot role does one thing and ends, and is never online. */
export const isOneShot = ({ kind }: Role): boolean => kind === "scan" || kind === "safe";

/** Requestors or subscribers connect to it, so it gets the keys and the authorized clients. */
export const hasPort = (role: Role): boolean =>
  ["router", "task worker", "data worker"].includes(role.kind) && role.isPython !== true;

/** Nobody but the supervisor looks whether its event loop turns. */
export const isWatched = ({ kind }: Role): boolean => kind === "source worker" || kind === "gateway" || kind === "link";

/** The engine works without it: it is started last, and its deaths say nothing of the engine. */
export const isApart = ({ kind }: Role): boolean => kind === "gateway" || kind === "link";

/** As printed. */
export const labelOf = ({ kind, isPython }: Role): string => (isPython ? `${kind} (Python)` : kind);

export const rolesOf = (config: Config): Roles => {
  const tasks = tasksFlags(config);
  const hook = config.onStop?.replace(/^task_/i, "") ?? null;
  const verbose = config.verbose ? ["--verbose"] : [];
  const recycle = [
    ...(config.workerJobsMax === null ? [] : ["--jobs-max", `${config.workerJobsMax}`]),
    ...(config.workerMemoryMax === null ? [] : ["--memory-max", `${config.workerMemoryMax}`]),
  ];
  const folder = engineFolder(config.state, config.port);
  const workSocket = workSocketPath(folder);

  const router = [
    ["router", "--host", config.host, "--port", `${config.port}`, "--backend-port", `${config.backendPort}`],
    ["--work-socket", workSocket],
    config.key === null ? [] : ["--front-socket", frontSocketPath(folder)],
    // If the supervisor dies, the router starts the safe process.
    tasks,
    hook === null ? [] : ["--run", hook],
    ["--stop-grace-ms", `${config.stopGraceMs}`],
  ].flat();
  const dataPortOf = (dataWorker: number): number => config.dataPort + dataPortsPerWorker * dataWorker;
  const dataFlags = (port: number): string[] => [
    ...["--stream-port", `${port}`, "--plain-port", `${port + 1}`],
    ...(config.key === null ? [] : ["--stream-socket", dataSocketPath(folder, port)]),
    ...["--python-socket", pythonDataSocketPath(folder, port)],
    ...["--history-ms", `${config.historyMs}`, "--history-bytes", `${config.historyBytes}`],
    ...["--data-bytes-max", `${config.dataBytesMax}`],
  ];
  const worker = (kind: "task worker" | "data worker", index: number): Role => {
    const port = config.workerPort + index;
    const isTaskWorker = kind === "task worker";
    const argv = [
      [isTaskWorker ? "task-worker" : "data-worker", "--host", config.host, "--port", `${port}`],
      ["--backend", `unix://${workSocket}`],
      isTaskWorker ? [...tasks, ...recycle] : dataFlags(dataPortOf(index - config.taskWorkers)),
      verbose,
    ].flat();
    return { kind, name: `${kind} ${port}`, argv, takesEnv: true };
  };
  return {
    scan: { kind: "scan", name: "scan", argv: ["scan", ...tasks], takesEnv: true },
    router: { kind: "router", name: "router", argv: [...router, ...verbose], takesEnv: true },
    workers: Array.from({ length: config.taskWorkers + config.dataWorkers }, (_, index) =>
      worker(index < config.taskWorkers ? "task worker" : "data worker", index),
    ),
    source: {
      kind: "source worker",
      name: "source worker",
      argv: ["source-worker", "--backend", `unix://${workSocket}`, ...tasks],
      takesEnv: true,
    },
    journal: {
      kind: "journal",
      name: "journal",
      argv: ["journal", "--backend", `unix://${workSocket}`, "--folder", folder],
      takesEnv: false,
    },
    gateway: gatewayOf(config),
    link: linkOf(config),
    safe: { kind: "safe", name: "safe", argv: safeVerb(config), takesEnv: true },
    hook,
    python: pythonRolesOf(config, recycle, verbose),
  };
};

const gatewayOf = ({ http, host, port, state, tokens, tlsCert, tlsKey, insecure }: Config): Role | null => {
  if (http === null) return null;
  const flags = Object.entries({ http, state, tokens, "tls-cert": tlsCert, "tls-key": tlsKey });
  const given = flags.flatMap(([name, value]) => (value === null ? [] : [`--${name}`, value]));
  const argv = [
    "gateway",
    "--router",
    `tcp://${reachable(host)}:${port}`,
    ...given,
    ...(insecure ? ["--insecure"] : []),
  ];
  return { kind: "gateway", name: "gateway", argv, takesEnv: false };
};

const linkOf = (config: Config): Role | null => {
  const { nats, robot, groups, host, port, state } = config;
  if (nats === null) return null;
  const files = { "nats-creds": config.natsCreds, "nats-ca": config.natsCa };
  const certificate = { "nats-cert": config.natsCert, "nats-key": config.natsKey };
  const flags = Object.entries({ nats, robot, groups, state, ...files, ...certificate });
  const given = flags.flatMap(([name, value]) => (value === null ? [] : [`--${name}`, value]));
  const allowed = config.link.allow.flatMap((right) => ["--allow", right]);
  const mirrored = config.link.mirror.flatMap((rule) => ["--mirror", rule]);
  const argv = ["link", "--router", `tcp://${reachable(host)}:${port}`, ...given, ...allowed, ...mirrored];
  return { kind: "link", name: "link", argv, takesEnv: false };
};

const pythonRolesOf = (config: Config, recycle: readonly string[], verbose: readonly string[]): PythonRoles => {
  const tasks = tasksFlags(config);
  const socket = pythonSocketPath(engineFolder(config.state, config.port));
  const backend = ["--backend", `ipc://${socket}`];
  const role = (kind: Role["kind"], name: string, argv: readonly string[]): Role => ({
    kind,
    name: `${name} (Python)`,
    argv,
    takesEnv: true,
    isPython: true,
  });
  const { tasks: folder, tasksIfAny } = config;
  return {
    folder: { tasks: folder, tasksIfAny },
    interpreter: config.python,
    socket,
    scan: role("scan", "scan", ["scan", ...tasks]),
    workers: Array.from({ length: config.pythonWorkers }, (_, index) =>
      role("task worker", `task worker ${index}`, ["task-worker", ...backend, ...tasks, ...recycle, ...verbose]),
    ),
    source: role("source worker", "source worker", ["source-worker", ...backend, ...tasks]),
    safe: role("safe", "safe", safeVerb(config)),
  };
};

/** The address at which a program on this machine reaches a listener on `host`. */
export const reachable = (host: string): string => (host === "0.0.0.0" ? "127.0.0.1" : host);

/** The command line of this program in a role. */
export const ownCommand = (role: Role): readonly string[] => [...ownProgram(), ...role.argv];
