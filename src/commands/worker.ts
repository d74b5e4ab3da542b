/**
 * `worker` runs one task worker in this process for the engine of another machine. It joins at the
 * engine's backend port, serves the tasks of its own folder and the built-in ones, and has no port
 * of its own. It waits for an engine that is not there and says so once. It has no supervisor:
 * restarts are up to the system (systemd).
 *
 * SIGTERM or Ctrl-C: it takes no further job, finishes the running one, and leaves. A second Ctrl-C
 * ends that job and runs its `onStop`; without one, and at a third, the worker ends at once. A task
 * that never awaits blocks both; Ctrl-\ (SIGQUIT) ends it even then. Processes that its tasks have
 * started end with it, unless it is killed, which only the system can help (systemd).
 *
 * Exits with 0 after it has left, 1 if a task file cannot be loaded, 2 for wrong flags, 130 after a
 * second Ctrl-C.
 */
import { readClientKeys } from "../client/keys.ts";
import { takeAlongAtExit } from "../process/descendants.ts";
import { error, say } from "../process/log.ts";
import { onInterrupt } from "../supervisor/signals.ts";
import { StartError } from "../transport/start-error.ts";
import { defineCommand, ExitError } from "./command.ts";
import { keyArgs, keysFrom, usageErrorFrom } from "./engine.ts";
import { checkEndpoint } from "./locate.ts";

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
    const { tasks: tasksDir = null, verbose = false } = args;
    const backend = checkEndpoint(args.router, "--router");
    const { runTaskWorker } = await import("../worker/task-worker.ts");
    takeAlongAtExit();
    try {
      await runTaskWorker({
        host: "",
        port: null,
        backend,
        tasksDir,
        keys: usageErrorFrom(() => readClientKeys(keysFrom(args)).options),
        supervised: false,
        jobsMax: null,
        memoryBytesMax: null,
        onLeave: onLeaveSignals,
        verbose,
      });
    } catch (failure) {
      throw failure instanceof StartError ? new ExitError(failure.message, 1) : failure;
    }
    // A handle that a task has left open would keep the event loop alive.
    process.exit();
  },
});

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
