/**
 * The task worker process: takes jobs from the router, and from requestors that come straight to
 * its own port, and gives them to the executor one after the other.
 */

import { abortGraceMs, routerAbsentMs } from "../limits.ts";
import { BackendLink } from "../process/backend-link.ts";
import { mapBegunRecord } from "../process/begun.ts";
import { say, warn } from "../process/log.ts";
import type { SupervisorMessage } from "../process/messages.ts";
import { openGate } from "../process/open-gate.ts";
import { onSupervisorMessage, tellSupervisor } from "../process/supervised.ts";
import { stoppedMessage } from "../protocol/blocked.ts";
import { listTasks } from "../tasks/json-schema.ts";
import { loadRegistry } from "../tasks/registry.ts";
import type { Registry } from "../tasks/task.ts";
import { reactor, waitHereMs } from "../transport/reactor.ts";
import { StartError } from "../transport/start-error.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { describeBindError } from "../transport/zmq/start.ts";
import { DirectPort } from "./direct-port.ts";
import { Executor } from "./executor.ts";
import { exitOnStrayErrors, noteCulprits } from "./failures.ts";
import { type RecycleLimits, RecycleRule } from "./recycle.ts";
import { Restrictions } from "./restrictions.ts";
import { RouterJobs } from "./router-jobs.ts";
import { onStopMsOf } from "./user-code.ts";
import { WorkerPublisher } from "./worker-publisher.ts";

interface TaskWorkerOptions extends RecycleLimits {
  readonly host: string;
  /** The worker's own port, for requestors that skip the router; null for none. */
  readonly port: number | null;
  /** The router's backend: `tcp://HOST:PORT`, or `unix://PATH` for the engine's own workers. */
  readonly backend: string;
  /** CURVE keys, for a router's port. */
  readonly keys?: SocketOptions;
  /** The folder of task files, or null for the built-in tasks alone. */
  readonly tasksDir: string | null;
  /** Names of tasks that Python's files define: none of these is built in here. */
  readonly pythonTasks?: readonly string[];
  /** A supervisor reads the record of the begun job. */
  readonly supervised: boolean;
  /**
   * Registers two handlers. `leave` ends the worker after the running job. `cutOff` aborts that job
   * as well; its promise is kept when the job has had its time to let go and be made safe.
   */
  readonly onLeave: (leave: () => void, cutOff: () => Promise<void>) => void;
  /** Print each task that is received and completed. */
  readonly verbose: boolean;
}

/** Runs until it is told to leave or its share is done. Throws StartError. */
export const runTaskWorker = async (options: TaskWorkerOptions): Promise<void> => {
  const tag = `[WORKER-${process.pid}(TASK)]`;
  const id = `TASK-${process.pid}`;
  const address = options.port === null ? null : `${options.host}:${options.port}`;
  const log = options.verbose ? (line: string) => say(`${tag} ${line}`) : null;
  const begun = options.supervised ? mapBegunRecord() : null;
  let registry: Registry = new Map();
  exitOnStrayErrors(
    tag,
    noteCulprits(begun, () => registry),
  );
  const restrictions = new Restrictions();
  let loaded: Executor | null = null;
  // First, since a supervisor that halts its workers kills those that do not answer.
  onSupervisorMessage((message) => {
    if (message.type === "stopped") restrictions.stoppedBySupervisor = message.stopped;
    else if (message.type === "quarantined") restrictions.quarantine(message.tasks);
    else if (message.type === "paused") restrictions.pause(message.tasks);
    else if (message.type === "halt") void halt(loaded, message);
  });
  // Before any task file is loaded, which could otherwise read the keys.
  const gate = await openGate();
  registry = await loadRegistry(options.tasksDir, { pythonTasks: new Set(options.pythonTasks) });
  begun?.list(registry.keys());

  const leaving = Promise.withResolvers<void>();
  // The supervisor is told first: an end without a word counts as a crash.
  const leave = (why: string): void => {
    tellSupervisor({ type: "recycle", why });
    leaving.resolve();
  };
  using recycle = new RecycleRule(options, leave, tag);
  const ended = (ms: number): void => recycle.jobEnded(ms);
  const values = new WorkerPublisher({ link: () => link, backend: options.backend, keys: options.keys ?? {}, tag });
  const executor = new Executor(
    registry,
    {
      tag,
      publish: (topic, payload, type, task) => values.publish(topic, payload, type, task),
      // The next message may be here already, and is soon waited for here.
      idle: () => reactor.lookAgain(),
      ...(begun !== null && { begins: (task) => begun.task(task), ends: () => begun.ended() }),
      catchUp: (awayMs) => gate.catchUp(awayMs),
    },
    restrictions,
  );
  loaded = executor;
  const jobs: RouterJobs = new RouterJobs({
    executor,
    link: () => link,
    begin: (job) => begun?.job(job),
    refusal: (name) => {
      const task = registry.get(name);
      return task === undefined ? null : restrictions.stopRefusal(task);
    },
    ended,
    log,
  });

  say(`Starting worker[TASK] on socket: ${address ?? "none of its own"}`);
  const direct = new DirectPort({ id, gate, executor, registry, restrictions, ended, log });
  if (options.port !== null) {
    try {
      direct.bind(options.host, options.port);
    } catch (error) {
      throw new StartError(describeBindError(error, "a task worker", `${options.host}:${options.port}`));
    }
    say(`${tag} Listener online`);
  }

  const unanswered = setTimeout(
    () => warn(`${tag} No router answers at ${options.backend}; retrying until one does`),
    routerAbsentMs,
  );
  const link = new BackendLink({
    endpoint: options.backend,
    keys: options.keys ?? {},
    tag,
    // Last of all: the router must never hand a job to a worker that is still loading its tasks.
    ready: {
      type: "READY",
      role: "task",
      id,
      pid: process.pid,
      tasks: listTasks(registry),
      endpoint: address === null ? "" : `tcp://${address}`,
      ...(options.supervised && { supervised: true }),
      stops: true,
    },
    onWelcome: () => {
      clearTimeout(unanswered);
      if (address === null) say(`${tag} Joined ${options.backend}`);
      tellSupervisor({ type: "online" });
      values.welcome();
    },
    onOwners: ({ workers }) => values.owners(workers),
    onWork: (header, bodies, lateMs) => jobs.take(header, bodies, lateMs),
    onLost: () => jobs.drop(),
    onAbort: ({ job, code, message }) => jobs.abort(job, code, message),
    onSafe: (header) => jobs.safe(header),
    onStopped: ({ stopped }) => {
      restrictions.stoppedByRouter = stopped;
      if (stopped !== null) void executor.halt({ code: "STOPPED", message: stoppedMessage(stopped) }, true);
    },
  });

  // Timers of a task may have to wait a little for that, but only while jobs come in a row.
  reactor.mayWait(() => (executor.isIdle ? waitHereMs : 0));
  options.onLeave(
    () => leave("it was told to end"),
    () => {
      void executor.halt({ code: "INTERRUPTED", message: "its worker was told to end at once" }, false);
      return Bun.sleep(safeWithinMs(registry));
    },
  );
  await leaving.promise;
  clearTimeout(unanswered);
  // The router first: jobs that it hands over from here on go back to it unbegun.
  link.leave();
  await executor.drain();
  await link.goodbye();
  await values.close();
  link.close();
  direct.close();
  terminateContext();
};

/** A worker without an executor still loads its tasks, so nothing runs. */
const halt = async (executor: Executor | null, { halt, code, message, spares }: HaltMessage): Promise<void> => {
  await executor?.halt({ code, message }, spares);
  tellSupervisor({ type: "still", halt });
};

type HaltMessage = Extract<SupervisorMessage, { type: "halt" }>;

/** ms within which every task with an `onStop` should have let go and be safe */
const safeWithinMs = (registry: Registry): number =>
  Math.max(
    0,
    ...[...registry.values()]
      .filter(({ onStop }) => onStop !== null)
      .map((task) => (task.policy.graceMs ?? abortGraceMs) + onStopMsOf(task)),
  );
