/**
 * The settings of `serve`, one row each, with the forms of their values. `config.ts` reads them.
 */
import * as v from "valibot";
import * as limits from "../limits.ts";
import { nameForm, reservedNames, robotNamePattern } from "../protocol/fleet.ts";
import { httpPattern } from "../security/exposure.ts";

type Kind = "number" | "switch" | "text";

const row = <Output, Default>(
  kind: Kind,
  hint: string,
  fallback: Default,
  schema: v.GenericSchema<unknown, Output>,
  description: string,
) => ({ kind, hint, fallback, schema, description });

const whole = (min: number, max: number) => {
  const must = `must be a whole number from ${min} to ${max}`;
  return v.pipe(v.unknown(), v.number(must), v.integer(must), v.minValue(min, must), v.maxValue(max, must));
};
const text = (pattern: RegExp, must: string) => v.pipe(v.unknown(), v.string(must), v.regex(pattern, must));

const host = text(/^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$/i, "must be an IPv4 address or a name of this machine");
const port = whole(1, 65_535);
const workers = whole(0, limits.workerProcessesMax);
const folder = text(/^[^\0]+$/, "must be the path of a folder");
const file = text(/^[^\0]+$/, "must be the path of a file");
const http = text(httpPattern, "must be [ADDRESS:]PORT");
const nats = text(/^(nats|tls):\/\/[\w.,:/[\]-]+$/, "must be nats://HOST:PORT");
const robot = text(robotNamePattern, `must have ${nameForm}, and not be ${reservedNames}`);
const groups = text(/^[A-Za-z0-9][\w-]*(,[A-Za-z0-9][\w-]*)*$/, "must be names with commas");
const grace = whole(0, limits.graceMsMax);
const task = text(/^[\w.-]{1,128}$/, "must be the name of a task");
const history = whole(0, limits.historyMsMax);
const historyBytes = whole(limits.historyBytesMin, limits.historyBytesMaxMax);
const dataBytes = whole(1, limits.dataBytesMaxMax);
const workerJobs = whole(1, limits.workerJobsMax);
const workerMemory = whole(limits.workerMemoryMibMin, limits.workerMemoryMibMax);
const restarts = whole(0, limits.restartsMax);
const window = whole(1, limits.restartWindowMsMax);
const onOff = v.pipe(v.unknown(), v.boolean("must be true or false"));

/**
 * Every setting. Its row makes the flag, the variable, the file's key, the usage and the check:
 * `taskWorkers` is `--task-workers`, TASK_ENGINE_TASK_WORKERS and `task-workers`.
 */
export const rows = {
  host: row("text", "address", "127.0.0.1", host, "Address of this machine to listen on"),
  port: row("number", "port", 9000, port, "Port for requestors"),
  backendPort: row("number", "port", 9001, port, "Port for workers"),
  workerPort: row("number", "port", 10_000, port, "Port of the first worker; the others follow, task workers first"),
  dataPort: row("number", "port", 9002, port, "First port for 0.3 data; each data worker has two"),
  taskWorkers: row("number", "count", 2, workers, "Processes that run tasks"),
  pythonWorkers: row("number", "count", 1, workers, "Processes that run Python tasks, while there are any; 0: none"),
  python: row("text", "file", null, file, "Python interpreter, also a venv's (default: python3 in the PATH)"),
  dataWorkers: row("number", "count", 1, workers, "Processes that keep and publish data"),
  historyMs: row("number", "ms", limits.historyMs, history, "Time for which a data worker keeps values"),
  historyBytes: row("number", "bytes", limits.historyBytesMax, historyBytes, "Memory of a data worker for all values"),
  dataBytesMax: row("number", "bytes", limits.dataBytesMax, dataBytes, "Size of the largest value of a topic"),
  workerJobsMax: row(
    "number",
    "count",
    null,
    workerJobs,
    "Jobs after which a task worker is replaced (default: no limit)",
  ),
  workerMemoryMax: row(
    "number",
    "MiB",
    null,
    workerMemory,
    "Resident memory above which one is replaced after its job (default: no limit)",
  ),
  tasks: row("text", "folder", null, folder, "Folder of task files (default: ./tasks if there is one)"),
  key: row("text", "file", null, file, "Secret key of the engine, by `task-engine keygen` (default: no encryption)"),
  authorized: row(
    "text",
    "file",
    null,
    file,
    "File of authorized clients and their rights (default: `authorized` beside the key)",
  ),
  http: row("text", "[address:]port", null, http, "Serve HTTP there: API, metrics and a page (default: no HTTP)"),
  tokens: row("text", "file", null, file, "File of tokens for HTTP, by `task-engine token`: who may do what"),
  tlsCert: row("text", "file", null, file, "Certificate for HTTPS, PEM"),
  tlsKey: row("text", "file", null, file, "Secret key of that certificate, PEM"),
  nats: row("text", "url", null, nats, "Join a fleet on NATS, such as nats://hub:4222 (default: none)"),
  robot: row("text", "name", null, robot, "The robot's name in the fleet"),
  groups: row("text", "names", null, groups, "Groups of the fleet that it belongs to, with commas"),
  natsCreds: row("text", "file", null, file, "File of NATS credentials, or of the seed of an nkey"),
  natsCa: row("text", "file", null, file, "Certificate by which NATS' is checked, PEM"),
  natsCert: row("text", "file", null, file, "Own certificate for NATS, PEM"),
  natsKey: row("text", "file", null, file, "Secret key of that certificate, PEM"),
  insecure: row("switch", "", false, onOff, "Accept everybody who reaches this machine, without keys"),
  graceMs: row("number", "ms", 5_000, grace, "Time for running jobs to finish at a stop"),
  stopGraceMs: row("number", "ms", limits.stopGraceMs, grace, "Time for running jobs to let go at an emergency stop"),
  onStop: row("text", "task", null, task, "Task that makes the robot safe, at each stop and after a crash"),
  state: row(
    "text",
    "folder",
    null,
    folder,
    "Folder for what must outlive the engine (default: /var/lib/task-engine as root, else ~/.local/state/task-engine)",
  ),
  restartsMax: row("number", "count", 5, restarts, "Restarts within the window; at one more the engine stops"),
  restartWindowMs: row("number", "ms", 60_000, window, "The window in which restarts are counted"),
  verbose: row("switch", "", false, onOff, "Print each message as it passes"),
};

type Rows = typeof rows;

/** An example for each setting without a default. */
export const examples = {
  python: "/usr/bin/python3",
  workerJobsMax: 100_000,
  workerMemoryMax: 512,
  tasks: "tasks",
  key: "engine.key_secret",
  authorized: "authorized",
  http: "8080",
  tokens: "tokens",
  tlsCert: "cert.pem",
  tlsKey: "key.pem",
  nats: "nats://hub:4222",
  robot: "r7",
  groups: "arms,lab",
  natsCreds: "robot.creds",
  natsCa: "ca.pem",
  natsCert: "robot.pem",
  natsKey: "robot-key.pem",
  onStop: "park",
  state: "/var/lib/task-engine",
} satisfies { readonly [N in keyof Rows as Rows[N]["fallback"] extends null ? N : never]: string | number };
