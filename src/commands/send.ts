/**
 * `send TASK [ARGS…]` runs a task and prints its result; `send TASK --batch FILE` runs it once for
 * each line of a file (see `batch.ts`).
 *
 * Sends META and a TASK frame with the arguments. The answer is the result, or an error with its
 * code; before it the task's progress may come, which is shown on stderr if that is a terminal.
 * Ctrl-C, SIGTERM and the end of `--wait` cancel the request, so no job runs that nobody waits for.
 * With `--deadman` it also sends KEEPALIVE, so that the job ends if this process is killed, hangs
 * or loses its connection.
 *
 * With `--detach` the answer is that the job is accepted: prints its id, for the verbs `job`,
 * `result` and `cancel`.
 *
 * With `--nats` it asks a robot of a fleet, or one of a group, by its link (link/LINK.md).
 *
 * Prints a string as it is, the bytes of a binary result without a line feed (but not on a
 * terminal) and everything else as JSON; with `--json` the whole answer, `{"meta": …, "data": …}`,
 * or `{"error": {"code": …, "message": …}}`.
 *
 * Exits with 0; 1 if the engine refused, the task failed or the connection was lost (stderr has
 * `CODE: message`); 2 for wrong usage; 3 if there is no engine or no answer in time; 130 after
 * Ctrl-C or SIGTERM.
 */
import type { Client, Meta, Trace } from "../client/client.ts";
import type { DetachOptions, JobOptions } from "../client/options.ts";
import type { Robot } from "../client/robot.ts";
import {
  callTimeoutMs,
  deadmanMsMin,
  delayMsMax,
  durationMsMax,
  nameLengthMax,
  priorityDefault,
  priorityMax,
} from "../limits.ts";
import { didYouMean } from "../process/nearest.ts";
import { bytesIn } from "../protocol/arrays.ts";
import { TaskEngineError } from "../protocol/errors.ts";
import { taskName } from "../protocol/frames.ts";
import type { Json } from "../protocol/json.ts";
import type { TaskOptions } from "../protocol/policy.ts";
import { defineCommand, UsageError } from "./command.ts";
import { blockForAnswers, callArgs, type EngineFlags, interruptible, waitFrom, withEngine } from "./engine.ts";
import { fleetArgs, groupFlag, isForFleet, withRobot } from "./fleet.ts";
import { printBytes, printDone, printResult, StatusLine } from "./output.ts";
import { dateFrom, durationFrom, nameFrom, numberFrom, objectFrom, plainText, valueFrom } from "./values.ts";

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
      description: "Stop it when this command has sent no sign of life for so long",
    },
    latest: {
      type: "string",
      valueHint: "key",
      description: "Replace waiting jobs of the same task with the same key",
    },
    preempt: { type: "boolean", description: "Take its resources from jobs of lower priority that allow it" },
    detach: { type: "boolean", description: "Print the job's id once it is accepted, and do not wait for it" },
    durable: { type: "boolean", description: "The same, once it is on the disk: it outlives the engine" },
    unique: { type: "string", valueHint: "key", description: "Take the job of the same task and key, if there is one" },
    in: { type: "string", valueHint: "time", description: "Begin it so much later, such as 10s or 2h" },
    at: { type: "string", valueHint: "date", description: "Begin it then, such as 2026-12-01T08:00:00+01:00" },
    ...callArgs,
    ...fleetArgs,
    group: groupFlag,
    json: { type: "boolean", description: "Print the whole answer as JSON" },
    verbose: { type: "boolean", description: "Print the frames that are sent and received, on stderr" },
  },
  run: async ({ args }) => {
    const [typed = "", ...texts] = args._;
    const task = nameFrom(typed, "TASK");
    if (taskName(task) === "") throw new UsageError(`TASK is ${task}, which names nothing after its prefix`);
    if (args.batch !== undefined && texts.length > 0) {
      throw new UsageError("with --batch the arguments are in the file, and none can follow the task");
    }
    const lonely = args.durable ? "--durable" : args.detach ? "--detach" : "--unique";
    if (args.batch !== undefined && (args.durable || args.detach || args.unique !== undefined)) {
      throw new UsageError(`--batch waits for its results: it does not go with ${lonely}`);
    }
    if (args.in !== undefined && args.at !== undefined) throw new UsageError("--in and --at exclude each other");
    const list = texts.map((text, index) => valueFrom(text, `argument ${index + 1}`));
    const kwargs = args.kwargs === undefined ? {} : objectFrom(args.kwargs, "--kwargs");
    const job = jobOptionsFrom(args);
    const trace = args.verbose ? { trace: await tracer() } : {};
    const isRobot = isForFleet(args);
    if (isRobot && (args.batch !== undefined || args.verbose)) {
      throw new UsageError(`--${args.verbose ? "verbose" : "batch"} does not go with --nats`);
    }
    const work = (engine: Client | Robot) =>
      interruptible(async (signal) => {
        if (args.batch !== undefined && isEngine(engine)) {
          const { sendBatch } = await import("./batch.ts");
          return sendBatch(engine, task, args.batch, { ...job, kwargs, signal }, args.json === true);
        }
        if (args.durable) return sendDetached(engine, task, list, kwargs, { ...job, signal, durable: true });
        if (args.detach) return sendDetached(engine, task, list, kwargs, { ...job, signal });
        if (isEngine(engine)) blockForAnswers(engine);
        using line = new StatusLine();
        const onProgress = (data: Json): void => line.show(`${task}: ${plainText(data)}`);
        try {
          const options = { ...job, signal, onProgress };
          const ask = () => engine.request(task, list, kwargs, options);
          const reply = args.json
            ? await ask()
            : await engine.request(task, list, kwargs, { ...options, binary: true }).catch(unlessTooNew(ask));
          line.clear();
          if ("type" in reply) await printBytes(bytesIn(reply.data), `the result is ${reply.type.contentType}`);
          else await printResult(args.json ? JSON.stringify(reply) : plainText(reply.data));
        } catch (failure) {
          line.clear();
          const error = await withNearest(failure, engine, task);
          if (args.json && error instanceof TaskEngineError) {
            await printResult(JSON.stringify({ error: { code: error.code, message: error.message } }));
          }
          throw error;
        }
      });
    await (isRobot ? withRobot(args, work) : withEngine(args, work, trace));
  },
});

const isEngine = (engine: Client | Robot): engine is Client => !("target" in engine);

/** Prints the id of the job. */
const sendDetached = async (
  engine: Client | Robot,
  task: string,
  list: unknown[],
  kwargs: object,
  options: Omit<DetachOptions, "detach">,
): Promise<void> => {
  const { id } = await engine.call(task, list, kwargs, { ...options, detach: true });
  await printDone(id);
};

/** An engine of an earlier release refuses version 0.3 before anything runs: `ask` in 0.2 then. */
const unlessTooNew =
  <Reply>(ask: () => Promise<Reply>) =>
  (error: unknown): Promise<Reply> => {
    const isRefused = error instanceof TaskEngineError && error.code === "UNSUPPORTED_VERSION";
    // A message of the client itself would mean that the task may have run.
    if (isRefused && error.message.startsWith("META.version: 0.3 is not one of ")) return ask();
    throw error;
  };

/** Adds the nearest task's name to UNKNOWN_TASK. */
const withNearest = async (failure: unknown, engine: Client | Robot, task: string): Promise<unknown> => {
  if (!(failure instanceof TaskEngineError) || failure.code !== "UNKNOWN_TASK") return failure;
  // A worker's own port has no list of tasks.
  const tasks = await engine.tasks().catch(() => []);
  const names = tasks.map(({ name }) => name);
  return new TaskEngineError(failure.code, `${failure.message}${didYouMean(task.replace(/^task_/i, ""), names)}`);
};

type JobFlags = EngineFlags & {
  readonly [flag in "priority" | "ttl" | "timeout" | "deadman" | "latest" | "unique" | "in" | "at"]?:
    | string
    | undefined;
} & { readonly preempt?: boolean | undefined };

/** Returns the options of which a flag is given; throws UsageError. */
const jobOptionsFrom = (flags: JobFlags): JobOptions => {
  const number = (flag: "priority" | "ttl" | "timeout" | "deadman", min: number, max: number): number | undefined => {
    const text = flags[flag];
    return text === undefined ? undefined : numberFrom(text, `--${flag}`, min, max);
  };
  // A new option of the protocol does not compile until it has a flag.
  const options = {
    priority: number("priority", 0, priorityMax),
    ttlMs: number("ttl", 1, durationMsMax),
    timeoutMs: number("timeout", 1, durationMsMax),
    deadmanMs: number("deadman", deadmanMsMin, durationMsMax),
    latest: flags.latest === undefined ? undefined : keyFrom(flags.latest, "--latest"),
    preempt: flags.preempt,
    detach: undefined, // these have a method of their own
    durable: undefined,
    unique: flags.unique === undefined ? undefined : keyFrom(flags.unique, "--unique"),
    delayMs: flags.in === undefined ? undefined : durationFrom(flags.in, "--in", delayMsMax),
    notBefore: flags.at === undefined ? undefined : dateFrom(flags.at, "--at"),
  } satisfies { [Option in keyof TaskOptions]-?: TaskOptions[Option] | undefined };
  return {
    waitMs: waitFrom(flags, callTimeoutMs),
    ...Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined)),
  };
};

const keyFrom = (text: string, flag: string): string => {
  if (text !== "" && text.length <= nameLengthMax) return text;
  throw new UsageError(`${flag} must have 1 to ${nameLengthMax} characters`);
};

/** Prints each message and, for a request, the serial by which it can be cancelled. */
const tracer = async (): Promise<Trace> => {
  const { warn } = await import("../process/log.ts");
  const verbs = { sending: "Sending", received: "Received" };
  return (direction, frames) => {
    warn(`[CLIENT] ${verbs[direction]}: ${frames.join(" ")}`);
    const { type, serial }: Partial<Meta> = direction === "sending" ? JSON.parse(frames[0] ?? "{}") : {};
    if (type === "REQ") warn(`[CLIENT] Serial: ${serial} (task-engine cancel ${serial} cancels it)`);
  };
};
