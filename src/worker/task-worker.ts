/**
 * The task worker process: takes jobs from the router, and from requestors that come straight to its own port, and gives
 * them to the executor one after the other.
 */
import { mapBegunRecord } from "../begun.ts";
import { StartError, tellSupervisor } from "../lifecycle.ts";
import { routerAbsentMs } from "../limits.ts";
import { say, warn } from "../log.ts";
import { terminateContext } from "../zmq/context.ts";
import { Gate } from "../zmq/gate.ts";
import type { SocketOptions } from "../zmq/options.ts";
import { describeBindError } from "../zmq/start.ts";
import { BackendLink } from "./backend-link.ts";
import { DirectPort } from "./direct-port.ts";
import { Executor } from "./executor.ts";
import { type RecycleLimits, RecycleRule } from "./recycle.ts";
import { loadRegistry } from "./registry.ts";
import { RouterJobs } from "./router-jobs.ts";
import { exitOnStrayErrors } from "./stray.ts";

export interface TaskWorkerOptions extends RecycleLimits {
  readonly host: string;
  /** The worker's own port, for requestors that skip the router; null for none. */
  readonly port: number | null;
  /** The router's backend, `tcp://HOST:PORT`. */
  readonly backend: string;
  /** The keys to join with, if not the engine's own; a worker without a supervisor has no others. */
  readonly keys?: SocketOptions;
  /** The folder of task files, or null for the built-in tasks alone. */
  readonly tasksDir: string | null;
  /** Whether a supervisor reads which job was begun last. */
  readonly supervised: boolean;
  /** Registers what is to be called when the worker is to leave. */
  readonly onStop: (stop: () => void) => void;
  /** Print each task that is received and completed. */
  readonly verbose: boolean;
}

/** Runs until it is told to stop or has done its share, and then until the running job has ended. Throws StartError for a bad task file or a taken port. */
export const runTaskWorker = async (options: TaskWorkerOptions): Promise<void> => {
  const tag = `[WORKER-${process.pid}(TASK)]`;
  const id = `TASK-${process.pid}`;
  const address = options.port === null ? null : `${options.host}:${options.port}`;
  const leaving = Promise.withResolvers<void>();
  exitOnStrayErrors(tag);
  // Before any file of tasks is loaded, which could else listen to what is said of keys.
  const gate = await Gate.open();
  const registry = await loadRegistry(options.tasksDir);
  const log = options.verbose ? (line: string) => say(`${tag} ${line}`) : null;

  // Told before it happens: an end that nobody was told of is a crash.
  const leave = (why: string): void => {
    tellSupervisor({ type: "recycle", why });
    leaving.resolve();
  };
  const recycle = new RecycleRule(options, leave);
  const executor: Executor = new Executor(registry, {
    tag,
    progress: (job, frame) => jobs.progress(job, frame),
    publish: (topic, body) => link.publish(topic, body),
  });
  const jobs: RouterJobs = new RouterJobs({
    executor,
    link: () => link,
    begin: options.supervised ? mapBegunRecord() : null,
    ended: () => recycle.jobEnded(),
    log,
  });

  say(`Starting worker[TASK] on socket: ${address ?? "none of its own"}`);
  const direct = new DirectPort({ id, gate, executor, registry, ended: () => recycle.jobEnded(), log });
  if (address !== null) {
    try {
      direct.bind(`tcp://${address}`);
    } catch (error) {
      throw new StartError(describeBindError(error, "a task worker", address));
    }
    say(`${tag} Listener online`);
  }

  const unanswered = setTimeout(
    () => warn(`${tag} No router answers at ${options.backend}; trying on until one does`),
    routerAbsentMs,
  );
  const link = new BackendLink({
    endpoint: options.backend,
    keys: options.keys ?? gate.memberOptions,
    tag,
    // Last of all: the router must never hand a job to a worker that is still loading its tasks.
    ready: {
      type: "READY",
      role: "task",
      id,
      pid: process.pid,
      tasks: [...registry.values()].map(({ name, policy }) => ({ name, ...policy })),
      endpoint: address === null ? "" : `tcp://${address}`,
      ...(options.supervised && { supervised: true }),
    },
    onWelcome: () => {
      clearTimeout(unanswered);
      if (address === null) say(`${tag} Joined ${options.backend}`);
      tellSupervisor({ type: "online" });
    },
    onWork: (header, bodies, waitedMs) => jobs.take(header, bodies, waitedMs),
    onLost: () => jobs.drop(),
    onAbort: ({ job, code, message }) => jobs.abort(job, code, message),
  });

  options.onStop(() => leave("it was told to end"));
  await leaving.promise;
  clearTimeout(unanswered);
  // The router first: what it hands over from here on comes back to it unbegun.
  link.leave();
  await executor.drain();
  await link.goodbye();
  link.close();
  direct.close();
  terminateContext();
};
