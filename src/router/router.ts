/** The router process: its sockets, its start and its end. */
import { Broker } from "../broker/broker.ts";
import type { BrokerEvent } from "../broker/events.ts";
import { beatIntervalMs, clockWaitMsMax, partingMs, workersMax } from "../limits.ts";
import { error, say, warn } from "../process/log.ts";
import { LogFeed } from "../process/log-feed.ts";
import type { PythonTasks } from "../process/messages.ts";
import { openGate } from "../process/open-gate.ts";
import type { TasksFolder } from "../process/program.ts";
import {
  hasSupervisor,
  onLeaveRequest,
  onSupervisorLost,
  onSupervisorMessage,
  tellSupervisor,
} from "../process/supervised.ts";
import { packNow } from "../protocol/frames.ts";
import { isLoopback } from "../security/exposure.ts";
import { Frontend } from "../security/frontend.ts";
import type { Gate } from "../security/gate.ts";
import { Pulse } from "../transport/pulse.ts";
import { reactor, waitHereMs } from "../transport/reactor.ts";
import { ShmListener } from "../transport/shm/listener.ts";
import { StartError } from "../transport/start-error.ts";
import { type Listener, Listeners } from "../transport/transport.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import { openPrivateListener, ZmqListener } from "../transport/zmq/listener.ts";
import { describeBindError } from "../transport/zmq/start.ts";
import { isClockSynchronised } from "./clock.ts";
import { takeOver } from "./guard.ts";
import { Shell } from "./shell.ts";

interface RouterOptions {
  readonly host: string;
  /** 0: a free port */
  readonly port: number;
  readonly backendPort: number;
  /** Path of the socket for the engine's own workers; null for none. */
  readonly workSocket: string | null;
  /** The same for local programs, in an engine with keys. */
  readonly frontSocket: string | null;
  /** Task files and the task of `on-stop`, for safe stops after the death of the supervisor. */
  readonly folder: TasksFolder;
  readonly hook: string | null;
  /** ms that running jobs may take to let go at an emergency stop. */
  readonly stopGraceMs: number;
  /** Print each message that is passed on. */
  readonly verbose: boolean;
}

/**
 * Runs until it is told to stop. If its supervisor dies, it answers all jobs, makes the hardware
 * safe, and ends the process with code 1. Throws StartError if a port is not free.
 */
export const runRouter = async (options: RouterOptions): Promise<void> => {
  const gate = await openGate();
  const frontend = new Frontend(gate, (next) => shell.readRequests(next));
  const backend = new ZmqListener(gate.routerOptions);
  /** The listeners for workers, once these may join. */
  const workers = new Listeners();
  const front = `[ROUTER-${options.port}(FRONTEND)]`;
  const back = `[ROUTER-${options.backendPort}(BACKEND)]`;
  const broker = new Broker({
    id: `ROUTER-${process.pid}`,
    random: Math.random,
    wallSeconds: packNow,
    security: gate.hasKeys ? "curve" : isLoopback(options.host) ? "none" : "insecure",
    stopGraceMs: options.stopGraceMs,
    // In µs since 1970: no router accepts jobs faster than that.
    firstJob: Date.now() * 1000,
  });
  const logFeed = new LogFeed((lines, lost) => {
    shell.turn({ type: "log", process: `router ${process.pid}`, lines, lost });
    return true;
  });
  const onWatchLog = (isWatched: boolean): void => logFeed.watch(isWatched);
  const shell = new Shell({ broker, gate, frontend, workers, front, back, verbose: options.verbose, onWatchLog });

  say(`Starting [ROUTER] on socket: ${options.host}:${options.port}`);
  const { host, port, frontSocket: socket } = options;
  binding("frontend", host, port, () => frontend.bind({ host, port, socket }));
  say(`${front} Listener online`);
  binding("backend", options.host, options.backendPort, () => backend.bind(options.host, options.backendPort));
  say(`${back} Listener online`);

  gate.guard(backend.socket, partingMs);
  gate.onAccess((access) => shell.turn({ type: "access", access }));

  const told = Promise.withResolvers<void>();
  let python: PythonTasks | null = null;
  const startedAt = performance.now();
  const lookAtClock = (): void => {
    if (!broker.waitsForClock) return;
    const isKnown = isClockSynchronised();
    if (!isKnown && performance.now() - startedAt < clockWaitMsMax) return;
    if (!isKnown) warn(`[ROUTER-MASTER] ${clockUnknown}`);
    shell.turn({ type: "clock" });
  };
  let isServing = false;
  onSupervisorMessage((message) => {
    // The supervisor hands on the policies of the scan without knowing their form.
    shell.turn(message as BrokerEvent);
    if (message.type !== "tasks") return;
    python = message.python ?? null;
    lookAtClock();
    told.resolve();
    // A first Python file has come by a reload.
    if (isServing) reporting(listenForPython);
  });
  // Requests come after that: a router that was not told the tasks would call each of them unknown.
  if (hasSupervisor()) await told.promise;
  reactor.mayWait(() => waitHereMs);
  const listen = (listener: Listener, userOf: () => string | null, isOwn = true): void => {
    workers.add(listener);
    listener.onReadable((inbox) => shell.readWorkers(inbox, userOf, isOwn));
  };
  // An engine's own processes come by its sockets, which only its user may open.
  listen(backend, () => gate.userOf(backend.socket), options.workSocket === null);
  if (options.workSocket !== null) listen(openWorkSocket(options.workSocket), () => gate.ownUser);
  let isPythonServed = false;
  const listenForPython = (): void => {
    if (python === null || isPythonServed) return;
    listen(openPythonSocket(python.socket, gate), () => gate.ownUser);
    isPythonServed = true;
  };
  listenForPython();
  isServing = true;
  binding("frontend", options.host, options.port, () => frontend.open());
  // Silent workers set no timer.
  using _ticks = new Pulse(beatIntervalMs, () => {
    lookAtClock();
    shell.turn({ type: "tick" });
  });
  say("[ROUTER-MASTER] Routing started");
  tellSupervisor({ type: "online" });

  const isOrphaned = await new Promise<boolean>((resolve) => {
    onLeaveRequest(() => resolve(false));
    onSupervisorLost(() => resolve(true));
  });
  if (isOrphaned) {
    // The ports stay taken and requests are answered meanwhile, so that no other engine begins.
    warn("[ROUTER-MASTER] The supervisor has died: all jobs are ended, and made safe");
    const { tasksAtRisk } = broker;
    shell.turn({ type: "orphaned" });
    await takeOver({ folder: options.folder, hook: options.hook, tasks: tasksAtRisk, python });
  } else {
    tellSupervisor({ type: "unsafe", tasks: broker.tasksAtRisk });
  }
  shell.stop();
  // The ports go last: until then no other engine makes the workers' socket, deleted here.
  workers.close();
  frontend.close();
  terminateContext();
  if (isOrphaned) process.exit(1);
};

/** For the engine's own workers. Only the user of the engine may open it: no key is needed. */
const openWorkSocket = (path: string): ShmListener => {
  try {
    return new ShmListener({ path, connectionsMax: workersMax });
  } catch (failure) {
    const why = (failure as Error).message;
    throw new StartError(
      `the router's socket ${path} cannot be made: ${why}; fix it, or name another folder with --state`,
    );
  }
};

const clockUnknown = "The clock of this machine is not synchronised; schedules and durable jobs go by it all the same";

/** The same for those of Python. */
const openPythonSocket = (path: string, gate: Gate): ZmqListener => {
  const listener = openPrivateListener(gate.localRouterOptions, path);
  if (typeof listener !== "string") return listener;
  const remedy = "name another folder with --state, or turn Python off by --python-workers 0";
  throw new StartError(`the router's socket ${path} cannot be made: ${listener}; ${remedy}`);
};

const reporting = (act: () => void): void => {
  try {
    act();
  } catch (failure) {
    if (!(failure instanceof StartError)) throw failure;
    error(`[ROUTER-MASTER] Tasks of Python cannot be run: ${failure.message}`);
  }
};

const binding = (name: string, host: string, port: number, bind: () => void): void => {
  try {
    bind();
  } catch (error) {
    throw new StartError(describeBindError(error, `the router's ${name}`, `${host}:${port}`));
  }
};
