/**
 * The source worker process: calls all sources of the task files at their rates and publishes the
 * results. It runs no task. A source that blocks this process holds up the others.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { beatIntervalMs } from "../limits.ts";
import { BackendLink } from "../process/backend-link.ts";
import { error } from "../process/log.ts";
import { onLeaveRequest, tellSupervisor } from "../process/supervised.ts";
import { encodeError } from "../protocol/frames.ts";
import { loadAll } from "../tasks/registry.ts";
import type { RegisteredSource } from "../tasks/task.ts";
import { Pulse } from "../transport/pulse.ts";
import { terminateContext } from "../transport/zmq/context.ts";
import { jsonPayload } from "./context.ts";
import { exitOnStrayErrors } from "./failures.ts";
import { type SourceClock, SourceLoop, type SourcePublisher } from "./sources.ts";
import { WorkerPublisher } from "./worker-publisher.ts";

interface SourceWorkerOptions {
  /** The router's socket, `unix://PATH`, or its backend, `tcp://HOST:PORT`. */
  readonly backend: string;
  /** The folder of task files. */
  readonly tasksDir: string | null;
}

/** Runs until it is told to leave. Throws StartError. */
export const runSourceWorker = async ({ backend, tasksDir }: SourceWorkerOptions): Promise<void> => {
  const tag = `[WORKER-${process.pid}(SOURCE)]`;
  const calling = new AsyncLocalStorage<string>();
  exitOnStrayErrors(tag, () => calling.getStore(), "source");
  const { sources } = await loadAll(tasksDir);

  const publisher: SourcePublisher = {
    publish: (topic, value, source) => values.publish(topic, jsonPayload(value, "result"), null, `source_${source}`),
  };
  const values = new WorkerPublisher({ link: () => link, backend, keys: {}, tag });
  let loops: readonly SourceLoop[] = [];
  const start = (): void => {
    const startMs = systemClock.now();
    const hooks = { publisher, clock: systemClock, log: (line: string) => error(`${tag} ${line}`) };
    // Whatever a call leaves behind bears its name: see `exitOnStrayErrors`.
    const named = ({ run, ...source }: RegisteredSource) => ({ ...source, run: () => calling.run(source.name, run) });
    loops = sources.map((source) => new SourceLoop(named(source), startMs, hooks));
  };

  const link = new BackendLink({
    endpoint: backend,
    keys: {},
    tag,
    ready: {
      type: "READY",
      role: "source",
      id: `SOURCE-${process.pid}`,
      pid: process.pid,
      tasks: [],
      endpoint: "",
      supervised: true,
      sources: sources.map(({ name, topic, everyMs, staleMs }) => ({ name, topic, everyMs, staleMs })),
    },
    onWelcome: () => {
      // A source that ends the process must not end it before it counts as started.
      tellSupervisor({ type: "online" });
      values.welcome();
      if (loops.length === 0) start();
    },
    onOwners: ({ workers }) => values.owners(workers),
    onWork: ({ jobs }) => {
      for (const job of jobs) {
        link.answer("FAIL", job, 0, encodeError("UNKNOWN_TASK", "a source worker runs no tasks"));
      }
      link.flush();
    },
  });
  using _reports = new Pulse(beatIntervalMs, () => link.report(loops.map((loop) => loop.report())));

  await new Promise<void>((resolve) => onLeaveRequest(resolve));
  tellSupervisor({ type: "recycle", why: "it was told to end" });
  link.leave();
  await link.goodbye();
  await values.close();
  link.close();
  terminateContext();
};

const systemClock: SourceClock = {
  now: () => performance.now(),
  // A timer of 0 ms takes 1.
  after: (ms, handler) => void (ms === 0 ? setImmediate(handler) : setTimeout(handler, ms)),
};
