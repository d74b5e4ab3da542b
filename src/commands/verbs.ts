/**
 * The command tree. A verb is loaded when it is called, so that `send` does not load the
 * supervisor.
 */
import type { CommandDef, SubCommandsDef } from "citty";

/** The roles that `serve` starts as processes of their own. */
export const hiddenVerbs: SubCommandsDef = {
  router: async () => (await import("./roles.ts")).routerCommand,
  "task-worker": async () => (await import("./roles.ts")).taskWorkerCommand,
  "data-worker": async () => (await import("./roles.ts")).dataWorkerCommand,
  "source-worker": async () => (await import("./roles.ts")).sourceWorkerCommand,
  journal: async () => (await import("./roles.ts")).journalCommand,
  scan: async () => (await import("./roles.ts")).scanCommand,
  safe: async () => (await import("./roles.ts")).safeCommand,
};

/** @param version of the program */
export const rootCommand = (version: string): CommandDef => ({
  meta: { name: "task-engine", version, description: "A light-weight, secure task queue for Raspberry Pi robots" },
  args: { version: { type: "boolean", alias: "v", description: "Print the version" } },
  subCommands: {
    serve: async () => (await import("./serve.ts")).serveCommand,
    worker: async () => (await import("./worker.ts")).workerCommand,
    send: async () => (await import("./send.ts")).sendCommand,
    init: async () => (await import("./init.ts")).initCommand,
    keygen: async () => (await import("./keygen.ts")).keygenCommand,
    job: async () => (await import("./job.ts")).jobCommand,
    jobs: async () => (await import("./jobs.ts")).jobsCommand,
    result: async () => (await import("./result.ts")).resultCommand,
    logs: async () => (await import("./logs.ts")).logsCommand,
    retry: async () => (await import("./retry.ts")).retryCommand,
    discard: async () => (await import("./retry.ts")).discardCommand,
    cancel: async () => (await import("./cancel.ts")).cancelCommand,
    estop: async () => (await import("./estop.ts")).estopCommand,
    schedule: async () => (await import("./schedule.ts")).scheduleCommand,
    pause: async () => (await import("./pause.ts")).pauseCommand,
    resume: async () => (await import("./pause.ts")).resumeCommand,
    reset: async () => (await import("./reset.ts")).resetCommand,
    reload: async () => (await import("./reload.ts")).reloadCommand,
    status: async () => (await import("./status.ts")).statusCommand,
    token: async () => (await import("./token.ts")).tokenCommand,
    gateway: async () => (await import("./gateway.ts")).gatewayCommand,
    link: async () => (await import("./link.ts")).linkCommandOf(version),
    robots: async () => (await import("./robots.ts")).robotsCommand,
    tasks: async () => (await import("./tasks.ts")).tasksCommand,
    data: async () => (await import("./data.ts")).dataCommand,
    python: async () => (await import("./python.ts")).pythonCommand,
    service: async () => (await import("./service.ts")).serviceCommand,
    bench: async () => (await import("./bench.ts")).benchCommand,
  },
});
