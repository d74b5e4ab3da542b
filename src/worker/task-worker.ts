/**
 * The task worker process: takes jobs from the router, and from requestors that come straight to its own port, and gives
 * them to the executor one after the other.
 */
import { onStopSignal, StartError, tellSupervisor } from "../lifecycle.ts";
import { say } from "../log.ts";
import { ProtocolError } from "../wire/errors.ts";
import { encodeError } from "../wire/frames.ts";
import { decodeTaskFrame } from "../wire/requests.ts";
import { terminateContext } from "../zmq/context.ts";
import { describeBindError } from "../zmq/start.ts";
import { BackendLink, type WorkHeader } from "./backend-link.ts";
import { DirectPort } from "./direct-port.ts";
import { Executor, type Outcome } from "./executor.ts";
import { loadRegistry } from "./registry.ts";
import { exitOnStrayErrors } from "./stray.ts";

export interface TaskWorkerOptions {
  readonly host: string;
  /** The worker's own port, for requestors that skip the router. */
  readonly port: number;
  /** The router's backend, `tcp://HOST:PORT`. */
  readonly backend: string;
  /** The folder of task files, or null for the built-in tasks alone. */
  readonly tasksDir: string | null;
  /** Print each task that is received and completed. */
  readonly verbose: boolean;
}

/** Runs until SIGTERM, and then until the running job has ended. Throws StartError for a bad task file or a taken port. */
export const runTaskWorker = async (options: TaskWorkerOptions): Promise<void> => {
  const tag = `[WORKER-${process.pid}(TASK)]`;
  const id = `TASK-${process.pid}`;
  const address = `${options.host}:${options.port}`;
  exitOnStrayErrors(tag);
  const registry = await loadRegistry(options.tasksDir);
  const executor = new Executor(registry, {
    tag,
    progress: () => undefined,
    publish: (topic, body) => link.publish(topic, body),
  });

  say(`Starting worker[TASK] on socket: ${address}`);
  const direct = new DirectPort({
    id,
    executor,
    registry,
    ...(options.verbose && { log: (line) => say(`${tag} ${line}`) }),
  });
  try {
    direct.bind(`tcp://${address}`);
  } catch (error) {
    throw new StartError(describeBindError(error, "a task worker", address));
  }
  say(`${tag} Listener online`);

  const onWork = (header: WorkHeader, bodies: readonly Uint8Array[]): void => {
    for (const [index, job] of header.jobs.entries()) {
      const body = bodies[index];
      if (header.type !== "JOBS" || body === undefined) {
        link.answer("FAIL", job, 0, encodeError("UNAVAILABLE", "a task worker keeps no data"));
        continue;
      }
      run(job, header.serials[index] || String(job), body);
    }
    if (executor.queued === 0) link.flush();
  };

  const run = (job: number, serial: string, body: Uint8Array): void => {
    if (options.verbose) say(`${tag} Received task: ${Buffer.from(body).toString()}`);
    const task = decodeTaskFrame(body);
    if (task instanceof ProtocolError) {
      link.answer("FAIL", job, 0, encodeError(task.code, task.message));
      return;
    }
    const accepted = executor.submit({
      name: task.name,
      task: task.task,
      serial,
      done: (outcome) => answer(job, outcome),
    });
    if (accepted === "full") link.answer("FAIL", job, 0, encodeError("QUEUE_FULL", "the worker's queue is full"));
  };

  const answer = (job: number, outcome: Outcome): void => {
    const body = outcome.ok ? outcome.data : encodeError(outcome.code, outcome.message);
    if (options.verbose) say(`${tag} Task complete: ${Buffer.from(body).toString()}`);
    link.answer(outcome.ok ? "DONE" : "FAIL", job, outcome.ms, body);
    if (executor.queued === 0) link.flush();
  };

  const link = new BackendLink({
    endpoint: options.backend,
    tag,
    // Last of all: the router must never hand a job to a worker that is still loading its tasks.
    ready: {
      type: "READY",
      role: "task",
      id,
      pid: process.pid,
      tasks: [...registry.keys()],
      endpoint: `tcp://${address}`,
    },
    onWelcome: () => tellSupervisor({ type: "online" }),
    onWork,
  });

  await new Promise<void>((resolve) => onStopSignal(resolve));
  await executor.drain();
  link.close();
  direct.close();
  terminateContext();
};
