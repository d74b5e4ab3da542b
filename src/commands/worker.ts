/**
 * `worker` runs one task worker in this process, for the engine of another machine: it joins at the engine's backend port,
 * serves the tasks of its own folder and the built-in ones, and has no port of its own. It waits for an engine that is not
 * there (yet, or any more), and says so once. No supervisor stands behind it: what keeps it alive is the system's (systemd).
 *
 * SIGTERM and Ctrl-C: it takes no further job, finishes the one that runs, and leaves. A second Ctrl-C ends that job and makes safe
 * what it has moved, by its `onStop`; where there is none, and at a third, the worker ends at once. A task that never awaits keeps it from hearing either; Ctrl-\ (SIGQUIT) ends it even then.
 * What its tasks have started ends with it, unless it is killed: that takes the system (systemd).
 * Exit: 0 after it has left, 1 if a task file cannot be loaded, 2 for wrong flags, 130 after a second Ctrl-C.
 */
import { isEndpoint } from "../client/endpoint.ts";
import { TaskEngineError } from "../client/errors.ts";
import { readClientKeys } from "../client/keys.ts";
import { takeAlongAtExit } from "../process/descendants.ts";
import { error, say } from "../process/log.ts";
import { onInterrupt } from "../supervisor/signals.ts";
import { StartError } from "../transport/start-error.ts";
import type { SocketOptions } from "../transport/zmq/options.ts";
import { defineCommand } from "./command.ts";
import { type EngineFlags, keyArgs, keysFrom } from "./engine.ts";
import { ExitError, UsageError } from "./exit.ts";

export const workerCommand = defineCommand({
  meta: { name: "worker", description: "Run one task worker for an engine on another machine" },
  args: {
    router: {
      type: "string",
      required: true,
      valueHint: "endpoint",
      description: "Backend port of the engine, such as tcp://192.168.1.20:9001",
    },
    tasks: {
      type: "string",
      valueHint: "folder",
      description: "Folder of task files (default: the built-in tasks alone)",
    },
    ...keyArgs,
    verbose: { type: "boolean", description: "Print each task as it passes" },
  },
  run: async ({ args }) => {
    const { router, tasks: tasksDir = null, verbose = false } = args;
    if (!isEndpoint(router)) {
      throw new UsageError(`--router is ${JSON.stringify(router)}, which is not of the form tcp://HOST:PORT`);
    }
    const { runTaskWorker } = await import("../worker/task-worker.ts");
    takeAlongAtExit();
    try {
      await runTaskWorker({
        host: "",
        port: null,
        backend: router,
        tasksDir,
        keys: keysOf(args),
        supervised: false,
        jobsMax: null,
        memoryBytesMax: null,
        onLeave: onLeaveSignals,
        verbose,
      });
    } catch (failure) {
      throw failure instanceof StartError ? new ExitError(failure.message, 1) : failure;
    }
    // Not left to the event loop, which what a task has left open would keep turning.
    process.exit();
  },
});

const keysOf = (flags: EngineFlags): SocketOptions => {
  try {
    return readClientKeys(keysFrom(flags)).options;
  } catch (failure) {
    throw failure instanceof TaskEngineError ? new UsageError(failure.message) : failure;
  }
};

const onLeaveSignals = (leave: () => void, cutOff: () => Promise<void>): void => {
  let isLeaving = false;
  let isCutOff = false;
  const leaveOnce = (): void => {
    if (isLeaving) return;
    isLeaving = true;
    say("Leaving the engine once the running job has ended; Ctrl-C ends at once");
    leave();
  };
  process.on("SIGTERM", leaveOnce);
  onInterrupt(() => {
    if (!isLeaving) return leaveOnce();
    if (isCutOff) process.exit(130);
    isCutOff = true;
    process.exitCode = 130;
    error("task-engine: stopped at once, on a second signal; the running job was cut off");
    void cutOff().then(() => process.exit());
  });
};
