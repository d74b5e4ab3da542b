/**
 * `send TASK [ARGS…]` runs a task and prints its result.
 *
 * Sends one request: META, and a TASK frame with the arguments. Back comes the result, or an error with its code.
 * On stdout: a string as it is, everything else as JSON; with `--json` the whole answer, `{"meta": …, "data": …}`, or
 * `{"error": {"code": …, "message": …}}`. Exits with 0; with 1 when the engine or the task said no (`CODE: message` on
 * stderr), 2 for wrong usage, 3 when there is no engine or no answer in time. Then the task may still be running, unless
 * the message asks whether the engine is: a request that found no connection is never sent.
 */
import { defineCommand } from "citty";
import { TaskEngineError } from "../client/errors.ts";
import { callTimeoutMs, requestTimeoutMs } from "../limits.ts";
import { callArgs, endpointFrom, timeoutFrom, withEngine } from "./engine.ts";
import { objectFrom, plain, valueFrom } from "./values.ts";

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
    ...callArgs,
    json: { type: "boolean", description: "Print the whole answer as JSON" },
    verbose: { type: "boolean", description: "Print the frames that are sent and received, on stderr" },
  },
  run: async ({ args }) => {
    const endpoint = endpointFrom(args);
    const [task = "", ...texts] = args._;
    const list = texts.map((text, index) => valueFrom(text, `argument ${index + 1}`));
    const kwargs = args.kwargs === undefined ? {} : objectFrom(args.kwargs, "--kwargs");
    const timeoutMs = timeoutFrom(args, callTimeoutMs);
    const options = {
      timeoutMs: Math.min(timeoutMs, requestTimeoutMs),
      ...(args.verbose && { trace: await tracer() }),
    };
    const { printResult } = await import("./output.ts");
    await withEngine(endpoint, options, async (engine) => {
      try {
        const reply = await engine.request(task, list, kwargs, { timeoutMs });
        await printResult(args.json ? JSON.stringify(reply) : plain(reply.data));
      } catch (error) {
        if (args.json && error instanceof TaskEngineError) {
          await printResult(JSON.stringify({ error: { code: error.code, message: error.message } }));
        }
        throw error;
      }
    });
  },
});

const tracer = async (): Promise<(direction: "sending" | "received", frames: readonly Uint8Array[]) => void> => {
  const { warn } = await import("../log.ts");
  const verbs = { sending: "Sending", received: "Received" };
  return (direction, frames) =>
    warn(`[CLIENT] ${verbs[direction]}: ${frames.map((frame) => Buffer.from(frame).toString()).join(" ")}`);
};
