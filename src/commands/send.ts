/**
 * `send TASK [ARGS…]` runs a task and prints its result; `send TASK --batch FILE` runs it once for each line of a file.
 *
 * Sends META, and a TASK frame with the arguments. Back comes the result, or an error with its code; before it the task's
 * progress, which is shown on stderr where that is a terminal. Ctrl-C and SIGTERM cancel what was sent, as does the end of the
 * time that `--wait` sets: nothing goes on that nobody waits for. With `--deadman` it also says KEEPALIVE, so that the job ends
 * where this process is killed, hangs, or loses its connection.
 * On stdout: a string as it is, everything else as JSON; with `--json` the whole answer, `{"meta": …, "data": …}`, or
 * `{"error": {"code": …, "message": …}}`. Exits with 0; with 1 when the engine or the task said no or the connection was lost
 * (`CODE: message` on stderr), 2 for wrong usage, 3 when there is no engine or no answer in time, 130 after Ctrl-C or SIGTERM. `batch.ts` has
 * the rest of `--batch`.
 */
import type { Client, Meta, Trace } from "../client/client.ts";
import { TaskEngineError } from "../client/errors.ts";
import type { JobOptions } from "../client/options.ts";
import { callTimeoutMs, deadmanMsMin, durationMsMax, nameLengthMax, priorityDefault, priorityMax } from "../limits.ts";
import { didYouMean } from "../process/nearest.ts";
import { taskName } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import { defineCommand } from "./command.ts";
import {
  callArgs,
  connectionFrom,
  type EngineFlags,
  endpointFrom,
  numberFrom,
  waitForAnswers,
  waitFrom,
  withEngine,
} from "./engine.ts";
import { UsageError } from "./exit.ts";
import { interruptible } from "./interrupt.ts";
import { printResult } from "./output.ts";
import { StatusLine } from "./status-line.ts";
import { nameFrom, objectFrom, plain, valueFrom } from "./values.ts";

export const sendCommand = defineCommand({
  meta: { name: "send", description: "Run a task and print its result" },
  args: {
    task: { type: "positional", required: true, description: "Name of the task" },
    "args...": {
      type: "positional",
      required: false,
      description: "Its arguments: JSON where they are JSON, or else strings",
    },
    kwargs: { type: "string", valueHint: "json", description: "Its named arguments, a JSON object" },
    batch: {
      type: "string",
      valueHint: "file",
      description: "Run it for each line of a file (- for stdin), a JSON list of arguments each",
    },
    priority: {
      type: "string",
      valueHint: `0-${priorityMax}`,
      description: `Jobs of the highest go first (default ${priorityDefault})`,
    },
    ttl: { type: "string", valueHint: "ms", description: "Never begin it later than so long after its acceptance" },
    timeout: { type: "string", valueHint: "ms", description: "Stop it when it runs longer" },
    deadman: {
      type: "string",
      valueHint: "ms",
      description: "Stop it when this command has not shown for so long that it is there",
    },
    latest: {
      type: "string",
      valueHint: "key",
      description: "Take the place of what waits of the same task with the same key",
    },
    preempt: { type: "boolean", description: "Take what it needs from jobs of lower priority that allow it" },
    ...callArgs,
    json: { type: "boolean", description: "Print the whole answer as JSON" },
    verbose: { type: "boolean", description: "Print the frames that are sent and received, on stderr" },
  },
  run: async ({ args }) => {
    const endpoint = await endpointFrom(args);
    const [typed = "", ...texts] = args._;
    const task = nameFrom(typed, "TASK");
    if (taskName(task) === "") throw new UsageError(`TASK is ${task}, which names nothing after its prefix`);
    if (args.batch !== undefined && texts.length > 0) {
      throw new UsageError("with --batch the arguments are in the file, and none can follow the task");
    }
    const list = texts.map((text, index) => valueFrom(text, `argument ${index + 1}`));
    const kwargs = args.kwargs === undefined ? {} : objectFrom(args.kwargs, "--kwargs");
    const job = jobOptionsFrom(args);
    const options = {
      ...connectionFrom(args),
      ...(args.verbose && { trace: await tracer() }),
    };
    await withEngine(endpoint, options, (engine) =>
      interruptible(async (signal) => {
        if (args.batch !== undefined) {
          const { sendBatch } = await import("./batch.ts");
          return sendBatch(engine, task, args.batch, { ...job, kwargs, signal }, args.json === true);
        }
        waitForAnswers(engine);
        using line = new StatusLine();
        const onProgress = (data: Json): void => line.show(`${task}: ${plain(data)}`);
        try {
          const reply = await engine.request(task, list, kwargs, { ...job, signal, onProgress });
          line.clear();
          await printResult(args.json ? JSON.stringify(reply) : plain(reply.data));
        } catch (failure) {
          line.clear();
          const error = await withNearest(failure, engine, task);
          if (args.json && error instanceof TaskEngineError) {
            await printResult(JSON.stringify({ error: { code: error.code, message: error.message } }));
          }
          throw error;
        }
      }),
    );
  },
});

/** What is said of a task that is not there, with the name of one that is and was probably meant. */
const withNearest = async (failure: unknown, engine: Client, task: string): Promise<unknown> => {
  if (!(failure instanceof TaskEngineError) || failure.code !== "UNKNOWN_TASK") return failure;
  // At a worker's own port nobody can say which there are.
  const tasks = await engine.tasks().catch(() => []);
  const hint = didYouMean(
    task.replace(/^task_/i, ""),
    tasks.map(({ name }) => name),
  );
  return new TaskEngineError(failure.code, `${failure.message}${hint}`);
};

interface JobFlags extends EngineFlags {
  readonly priority?: string | undefined;
  readonly ttl?: string | undefined;
  readonly timeout?: string | undefined;
  readonly deadman?: string | undefined;
  readonly latest?: string | undefined;
  readonly preempt?: boolean | undefined;
}

/** What the flags say of the job; throws UsageError. */
const jobOptionsFrom = (flags: JobFlags): JobOptions & { waitMs: number } => ({
  waitMs: waitFrom(flags, callTimeoutMs),
  ...(flags.priority !== undefined && { priority: numberFrom(flags.priority, "--priority", 0, priorityMax) }),
  ...(flags.ttl !== undefined && { ttlMs: numberFrom(flags.ttl, "--ttl", 1, durationMsMax) }),
  ...(flags.timeout !== undefined && { timeoutMs: numberFrom(flags.timeout, "--timeout", 1, durationMsMax) }),
  ...(flags.deadman !== undefined && {
    deadmanMs: numberFrom(flags.deadman, "--deadman", deadmanMsMin, durationMsMax),
  }),
  ...(flags.latest !== undefined && { latest: keyFrom(flags.latest) }),
  ...(flags.preempt && { preempt: true }),
});

const keyFrom = (text: string): string => {
  if (text !== "" && text.length <= nameLengthMax) return text;
  throw new UsageError(`--latest must have 1 to ${nameLengthMax} characters`);
};

/** Prints each message; after one that asks for something, by which serial an operator can cancel it. */
const tracer = async (): Promise<Trace> => {
  const { warn } = await import("../process/log.ts");
  const verbs = { sending: "Sending", received: "Received" };
  return (direction, frames) => {
    warn(`[CLIENT] ${verbs[direction]}: ${frames.join(" ")}`);
    const { type, serial }: Partial<Meta> = direction === "sending" ? JSON.parse(frames[0] ?? "{}") : {};
    if (type === "REQ") warn(`[CLIENT] Serial: ${serial} (task-engine cancel ${serial} cancels it)`);
  };
};
